"""Every query about patients."""

from collections.abc import Sequence

from sqlalchemy import and_, or_, select

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

    def by_id_number(self, site_id: str, id_number: str) -> Patient | None:
        """Return the first identity of a site with this document number."""
        return self.session.scalars(
            select(Patient)
            .where(Patient.site_id == site_id, Patient.id_number == id_number)
            .order_by(Patient.created_at, Patient.id)
            .limit(1)
        ).first()

    def readable(self, actor: Actor, patient_id: str) -> Patient | None:
        """Return an identity of a site where the actor may order."""
        patient = self.session.get(Patient, patient_id)
        sites = actor.sites_for(Permission.ORDER_CREATE)
        return patient if patient and (sites is None or patient.site_id in sites) else None

    def alike(  # noqa: PLR0917 - what a person is known by
        self, site_id: str, local_id: str, name: str, sex: str, birth_date: str, id_number: str
    ) -> Sequence[Patient]:
        """Return a site's identities that could be this person: same number, or same name and birth date."""
        same = [Patient.local_id == local_id] if local_id else []
        if id_number:
            same.append(Patient.id_number == id_number)
        if birth_date:
            same.append(and_(Patient.name == name, Patient.birth_date == birth_date))
        if not same:
            same.append(and_(Patient.name == name, Patient.sex == sex))
        return self.session.scalars(
            select(Patient).where(Patient.site_id == site_id, or_(*same)).limit(50)
        ).all()

    def search(self, actor: Actor, text: str, site_id: str = "", limit: int = 20) -> Sequence[Patient]:
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
        if site_id:
            statement = statement.where(Patient.site_id == site_id)
        return self.session.scalars(statement.order_by(Patient.name).limit(limit)).all()
