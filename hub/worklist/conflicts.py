"""Objects that contradict what is filed, as the site's technician sees and decides them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue import conflicts
from hub.catalogue.conflict_repository import OTHER_PATIENT, ConflictRepository
from hub.catalogue.models import Instance, Quarantined, Study
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.dicom.compare import Compared, compare
from hub.dicom.ingest import release_quarantined
from hub.dicom.stored import open_object
from hub.errors import Forbidden, HubError, NotFound
from hub.sites.repository import SiteRepository
from hub.worklist.desk import FilingResult, charset_of, header_of, open_item

MAY_SEE = (Permission.DESK_MATCH, Permission.DESK_QUARANTINE)
"""The technician of the site decides; IT may be the second person where there is one technician only."""


@dataclass
class Foreigner:
    """Another patient whose objects came under a study."""

    local_id: str
    name: str
    sex: str
    birth_date: str
    items: list[Quarantined] = field(default_factory=list)

    @property
    def proposal(self) -> Quarantined | None:
        """One of the items for which a decision waits for a second person."""
        return next((item for item in self.items if item.proposed_at is not None), None)


@dataclass(frozen=True)
class TwoPatients:
    """A study and who else came under it."""

    study: Study
    example: Instance | None
    """One of its objects, to be shown."""
    example_series_uid: str
    foreigners: tuple[Foreigner, ...]


def two_patients(context: Context, session: Session, actor: Actor, study_id: str) -> TwoPatients:
    """Put a study's patient beside those whose objects came under it.

    Raises
    ------
    NotFound
        The actor does not see this study's conflicts, or there are none.
    """
    repository = CatalogueRepository(session)
    study = repository.study(study_id)
    if study is None or not any(actor.may(permission, study.site_id) for permission in MAY_SEE):
        raise NotFound
    items = ConflictRepository(session).foreign_objects(study)
    if not items:
        raise NotFound
    people: dict[tuple[str, str], Foreigner] = {}
    for item in items:
        seen = _patient_in(context, session, item)
        people.setdefault((seen.local_id, seen.name), seen).items.append(item)
    own = repository.instances_of_study(study.id)
    middle = own[len(own) // 2] if own else None
    return TwoPatients(
        study,
        middle[1] if middle else None,
        middle[0].series_uid if middle else "",
        tuple(people.values()),
    )


def _patient_in(context: Context, session: Session, item: Quarantined) -> Foreigner:
    try:
        patient = header_of(context, item, charset_of(session, item, item.site_id)).patient
    except HubError:
        return Foreigner("", "", "", "")
    return Foreigner(patient.local_id, patient.name.display, patient.sex, patient.birth_date)


def items_of(session: Session, actor: Actor, study_id: str, item_ids: Sequence[str]) -> list[str]:
    """Return those of the ids that are open objects of another patient under a study.

    Raises
    ------
    NotFound
        None is, or the actor does not see them.
    """
    study = CatalogueRepository(session).study(study_id)
    if study is None or not any(actor.may(permission, study.site_id) for permission in MAY_SEE):
        raise NotFound
    known = {item.id for item in ConflictRepository(session).foreign_objects(study)}
    found = [item_id for item_id in item_ids if item_id in known]
    if not found:
        raise NotFound
    return found


def require_technician(session: Session, actor: Actor, study_id: str) -> None:
    """Refuse everybody but the technician of a study's site: only there the patients are known."""
    study = CatalogueRepository(session).study(study_id)
    if study is None:
        raise NotFound
    if not actor.may(Permission.DESK_MATCH, study.site_id):
        raise Forbidden


def file_as_proposed(context: Context, actor: Actor, item_ids: Sequence[str]) -> FilingResult:
    """Confirm proposals and file the objects under their study, each in a transaction of its own."""
    result = FilingResult()
    for item_id in item_ids:
        try:
            with context.db.transaction() as session:
                item = conflicts.confirm(session, actor, item_id, now=context.clock())
                site = SiteRepository(session).site(item.site_id or "")
                if site is None:
                    raise NotFound
                charset = charset_of(session, item, site.id)
                release_quarantined(
                    context, session, item, site.id, site.code, actor.ref, charset, same_patient=True
                )
        except HubError as error:
            result.refused.append((item_id, error.code))
        else:
            result.filed += 1
    return result


@dataclass(frozen=True)
class Clash:
    """A filed object and a quarantined one with the same UID."""

    item: Quarantined
    filed: Instance | None
    series_uid: str
    study: Study | None
    compared: Compared | None
    problem: str = ""
    """Code of the error that stopped the comparison."""


def clash(context: Context, session: Session, actor: Actor, item_id: str) -> Clash:
    """Compare a quarantined object with the filed one whose UID it has.

    Raises
    ------
    NotFound
        There is no such open item, or the actor is not its site's technician.
    """
    item = CatalogueRepository(session).peek_quarantined(item_id)
    if item is None or item.reason == OTHER_PATIENT or item.reason not in conflicts.CONFLICTS:
        raise NotFound
    if item.site_id is None or not actor.may(Permission.DESK_MATCH, item.site_id):
        raise NotFound
    holder = ConflictRepository(session).holder(item)
    study = CatalogueRepository(session).study_of_site(item.site_id, item.study_uid)
    if holder is None:
        return Clash(item, None, "", study, None, "NotFound")
    series, filed = holder
    try:
        with open_object(context, filed) as first, open_item(context, item) as second:
            return Clash(item, filed, series.series_uid, study, compare(first, second))
    except HubError as error:
        return Clash(item, filed, series.series_uid, study, None, error.code)
