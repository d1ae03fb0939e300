"""One way to make an account that can work: person, first post and signing key together."""

from datetime import date, datetime

from sqlalchemy.orm import Session

from hub.audit.service import ActorRef
from hub.auth import service, signing_keys
from hub.auth.models import UserAccount
from hub.auth.roles import Role
from hub.config import Settings


def create_account(
    session: Session,
    *,
    login: str,
    name: str,
    password: str,
    role: Role,
    site_id: str | None,
    settings: Settings,
    now: datetime,
    actor: ActorRef,
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> UserAccount:
    """Create an account with its first post and the key that its person signs with.

    Parameters
    ----------
    site_id : str or None
        Where the post is held; None means at the centre.
    valid_from : date, optional
        First day of the post; today in the hub's zone when not given.
    valid_to : date, optional
        Last day of the post; open when not given.

    Raises
    ------
    Rejected
        Login, name, password or post do not meet the rules.
    Conflict
        The login name is taken.
    """
    user = service.add_user(
        session, login=login, name=name, password=password, settings=settings, now=now, actor=actor
    )
    service.add_post(
        session,
        user,
        role,
        site_id,
        valid_from=valid_from or now.astimezone(settings.zone).date(),
        valid_to=valid_to,
        actor=actor,
    )
    signing_keys.issue(session, user, password, settings=settings, now=now)
    return user
