"""When, where and in how many images an exam is to be taken, as far as the order says."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from hub.errors import Rejected
from hub.sites.repository import SiteRepository

MOST_OBJECTS = 9999


class StationUnknown(Rejected):
    """The site has no active device of that title."""


class ViewsImpossible(Rejected):
    """The number of expected images is from 1 to 9999."""


@dataclass(frozen=True)
class Plan:
    """What an order says beyond who and what; nothing of it is needed."""

    scheduled_at: datetime | None = None
    station_ae: str = ""
    """Title of one of the site's devices; empty for any."""
    expected_objects: int | None = None


def stations(session: Session, site_id: str) -> dict[str, str]:
    """Return the titles that an order of a site can name, each with the name of its device."""
    devices = SiteRepository(session).devices(site_id)
    return {device.ae_title: device.label for device in devices if device.active}


def check_plan(session: Session, site_id: str, plan: Plan) -> None:
    """Refuse a plan that cannot be.

    Raises
    ------
    ViewsImpossible, StationUnknown
        The number of images or the device is none.
    """
    if plan.expected_objects is not None and not 1 <= plan.expected_objects <= MOST_OBJECTS:
        raise ViewsImpossible
    if plan.station_ae and plan.station_ae not in stations(session, site_id):
        raise StationUnknown
