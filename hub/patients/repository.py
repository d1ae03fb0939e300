"""Every query about patients."""

from collections.abc import Sequence

from sqlalchemy import or_, select

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.db.repository import Repository
from hub.patients.models import Patient


class PatientRepository(Repository):
    """Identities, each within its site."""

    def patient(self, patient_id: str) -> Patient | None:
        """Return an identity by its id."""
        return self.session.get(Patient, patient_id)

    def by_local_id(self, site_id: str, local_id: str) -> Patient | None:
        """Return the identity that a site knows by `local_id`."""
        return self.session.scalars(
            select(Patient).where(Patient.site_id == site_id, Patient.local_id == local_id)
        ).one_or_none()

    def search(self, actor: Actor, text: str, limit: int = 20) -> Sequence[Patient]:
        """Find identities by name or number, within the sites where the actor may order."""
        sites = actor.sites_for(Permission.ORDER_CREATE)
        statement = select(Patient).where(
            or_(
                Patient.name.contains(text, autoescape=True),
                Patient.local_id == text,
                Patient.id_number == text,
            )
        )
        if sites is not None:
            statement = statement.where(Patient.site_id.in_(sites))
        return self.session.scalars(statement.order_by(Patient.name).limit(limit)).all()
