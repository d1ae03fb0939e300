"""Every query about sites, devices and refused associations."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select

from hub.db.repository import Repository
from hub.sites.models import AssociationRefusal, Device, Site


class SiteRepository(Repository):
    """Sites and what is registered under them."""

    def site(self, site_id: str) -> Site | None:
        """Return a site by its id."""
        return self.session.get(Site, site_id)

    def site_by_code(self, code: str) -> Site | None:
        """Return a site by its code, whatever its case."""
        return self.session.scalars(select(Site).where(func.lower(Site.code) == code.lower())).one_or_none()

    def sites(self, only: frozenset[str] | None = None) -> Sequence[Site]:
        """Return the sites, all or those whose ids are given, by code."""
        statement = select(Site).order_by(Site.code)
        return self.session.scalars(statement if only is None else statement.where(Site.id.in_(only))).all()

    def highest_number(self) -> int:
        """Return the highest site number in use, 0 when there is no site."""
        return self.session.scalar(select(func.max(Site.number))) or 0

    def device(self, device_id: str) -> Device | None:
        """Return a device by its id."""
        return self.session.get(Device, device_id)

    def devices(self, site_id: str | None = None) -> Sequence[Device]:
        """Return the devices of a site, or all."""
        statement = select(Device).order_by(Device.site_id, Device.ae_title)
        return self.session.scalars(
            statement if site_id is None else statement.where(Device.site_id == site_id)
        ).all()

    def devices_on_wire(self, ae_title: str, address: str, certificate_sha256: str = "") -> Sequence[Device]:
        """Return the devices that certificate, address or title (in any case) point at; blocked ones too."""
        conditions = [
            Device.address == address if address else None,
            func.upper(Device.ae_title) == ae_title.upper() if ae_title else None,
            Device.certificate_sha256 == certificate_sha256 if certificate_sha256 else None,
        ]
        given = [condition for condition in conditions if condition is not None]
        return self.session.scalars(select(Device).where(or_(*given))).all() if given else []

    def same_refusal(
        self, calling_ae: str, called_ae: str, address: str, reason: str, since: datetime
    ) -> AssociationRefusal | None:
        """Return the row that already tells of this refusal since then."""
        return self.session.scalars(
            select(AssociationRefusal)
            .where(
                AssociationRefusal.last_at >= since,
                AssociationRefusal.address == address,
                AssociationRefusal.calling_ae == calling_ae,
                AssociationRefusal.called_ae == called_ae,
                AssociationRefusal.reason == reason,
            )
            .order_by(AssociationRefusal.last_at.desc())
            .limit(1)
        ).first()

    def refusals(self, limit: int = 100) -> Sequence[AssociationRefusal]:
        """Return the latest refused associations."""
        return self.session.scalars(
            select(AssociationRefusal).order_by(AssociationRefusal.last_at.desc()).limit(limit)
        ).all()
