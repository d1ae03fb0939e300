"""Accounts, posts, sessions and tokens: every change to them, with its audit row."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.auth.actor import Actor, PostHeld
from hub.auth.models import ApiToken, Post, UserAccount, WebSession
from hub.auth.passwords import check_password, hash_password, unknown_account
from hub.auth.repository import AuthRepository, PostGiven, browser_session, token_in_force
from hub.auth.roles import MACHINE_ROLES, SITE_ROLES, Role
from hub.config import Settings
from hub.db.session import Database
from hub.errors import Conflict, Forbidden, NotFound, Rejected, Unauthenticated

LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
SEEN_EVERY = timedelta(seconds=60)
"""A session's last sign of life is written at most this often."""


class LoginFailed(Unauthenticated):
    """Login name or password is wrong."""


class AccountLocked(Unauthenticated):
    """Too many wrong passwords; the account is locked for a while."""


class LoginInvalid(Rejected):
    """A login is 1 to 64 letters, digits, dots, dashes, beginning with a letter or digit."""


class LoginTaken(Conflict):
    """That login name is taken."""


class PersonNameMissing(Rejected):
    """A person needs a name."""


class PasswordTooShort(Rejected):
    """The password is too short."""


class MachineRole(Rejected):
    """That role is for tokens of machines only."""


class SiteNeeded(Rejected):
    """That role is held at a site: name it."""


class PostDatesReversed(Rejected):
    """The last day of a post is before its first."""


class PostHeldAlready(Conflict):
    """This post is held from that day already."""


class PostEnded(Conflict):
    """This post has ended already, or ends no later than that day."""


class OwnAccount(Conflict):
    """Nobody switches off the own account."""


@dataclass(frozen=True)
class OpenedSession:
    """What the browser gets: the cookie's secret and the token for forms."""

    secret: str
    csrf_token: str


def digest(secret: str) -> str:
    """Return the form in which a cookie or token is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_user(
    session: Session,
    *,
    login: str,
    name: str,
    password: str,
    settings: Settings,
    now: datetime,
    actor: ActorRef,
) -> UserAccount:
    """Create an account without any post.

    Raises
    ------
    Rejected
        The login name or the password does not meet the rules.
    Conflict
        The login name is taken.
    """
    if not LOGIN.fullmatch(login):
        raise LoginInvalid
    if not name.strip():
        raise PersonNameMissing
    check_password_rule(password, settings)
    repository = AuthRepository(session)
    if repository.user_by_login(login):
        raise LoginTaken
    user = UserAccount(login=login, name=name.strip(), password_hash=hash_password(password), created_at=now)
    session.add(user)
    session.flush()
    audit.record(session, Tag.USER_CREATE, actor=actor, subject_kind="user", subject_id=user.id, login=login)
    return user


def check_password_rule(password: str, settings: Settings) -> None:
    """Raise `Rejected` when a password is too short."""
    if len(password) < settings.password_length:
        raise PasswordTooShort


def add_post(
    session: Session,
    user: UserAccount,
    role: Role,
    site_id: str | None,
    *,
    valid_from: date,
    valid_to: date | None = None,
    actor: ActorRef,
) -> Post:
    """Appoint a person to a role at a site or at the centre."""
    if role in MACHINE_ROLES:
        raise MachineRole
    if role in SITE_ROLES and site_id is None:
        raise SiteNeeded
    held = AuthRepository(session).posts(user.id)
    if any(p.role == role and p.site_id == site_id and p.valid_from == valid_from for p in held):
        raise PostHeldAlready
    if valid_to is not None and valid_to < valid_from:
        raise PostDatesReversed
    post = Post(user_id=user.id, role=role, site_id=site_id, valid_from=valid_from, valid_to=valid_to)
    session.add(post)
    session.flush()
    audit.record(
        session,
        Tag.USER_CHANGE,
        actor=actor,
        subject_kind="user",
        subject_id=user.id,
        site_id=site_id,
        post=str(role),
    )
    return post


def end_post(session: Session, post_id: str, *, day: date, actor: ActorRef) -> None:
    """Let an appointment end on `day`, the last one it covers; an end is only ever moved forward.

    Raises
    ------
    Conflict
        It ends no later than that as it is: ending it must not prolong it.
    """
    post = AuthRepository(session).post(post_id)
    if post is None:
        raise NotFound("no such post")
    if post.valid_to is not None and post.valid_to <= day:
        raise PostEnded
    post.valid_to = day
    audit.record(
        session,
        Tag.USER_CHANGE,
        actor=actor,
        subject_kind="user",
        subject_id=post.user_id,
        ended_post=post.role,
    )


def set_active(session: Session, user_id: str, *, active: bool, now: datetime, actor: ActorRef) -> None:
    """Switch an account off, ending its sessions at once, or on again."""
    if not active and user_id == actor.id:
        raise OwnAccount
    repository = AuthRepository(session)
    user = repository.user(user_id)
    if user is None:
        raise NotFound("no such account")
    user.active = active
    if active:
        user.failures, user.locked_until = 0, None
    else:
        for open_session in repository.open_sessions(user_id):
            open_session.ended_at = now
    audit.record(
        session, Tag.USER_CHANGE, actor=actor, subject_kind="user", subject_id=user_id, active=int(active)
    )


def note_wrong_password(
    session: Session, user_id: str, *, settings: Settings, now: datetime, address: str
) -> bool:
    """Count a wrong password, at the login or when signing; tell whether it locked the account."""
    user = AuthRepository(session).user(user_id)
    if user is None:
        return False
    user.failures += 1
    locks = user.failures >= settings.lockout_failures
    if locks:
        user.failures, user.locked_until = 0, now + timedelta(minutes=settings.lockout_minutes)
    ref = ActorRef("person", user.id, user.login)
    tag = Tag.ACCOUNT_LOCKED if locks else Tag.LOGIN_FAILED
    audit.record(session, tag, actor=ref, subject_kind="user", subject_id=user.id, address=address)
    return locks


def require_unlocked(session: Session, user_id: str, now: datetime) -> None:
    """Raise `AccountLocked` while too many wrong passwords keep an account locked."""
    user = AuthRepository(session).user(user_id)
    if user is not None and user.locked_until is not None and now < user.locked_until:
        raise AccountLocked


def log_in(
    session: Session, login: str, password: str, *, settings: Settings, now: datetime, address: str
) -> OpenedSession | LoginFailed | AccountLocked:
    """Check a password and open a session.

    A refusal is returned, not raised: counting the failure is a change that must be
    committed, and an exception would roll it back.
    """
    user = AuthRepository(session).user_by_login(login)
    if user is None or not user.active:
        check_password(unknown_account(), password)
        return LoginFailed()
    ref = ActorRef("person", user.id, user.login)
    if user.locked_until is not None and now < user.locked_until:
        return AccountLocked()
    if not check_password(user.password_hash, password):
        locks = note_wrong_password(session, user.id, settings=settings, now=now, address=address)
        return AccountLocked() if locks else LoginFailed()
    user.failures, user.locked_until = 0, None
    secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    session.add(
        WebSession(
            digest=digest(secret),
            user_id=user.id,
            csrf_token=csrf,
            address=address,
            created_at=now,
            seen_at=now,
        )
    )
    audit.record(session, Tag.LOGIN, actor=ref, subject_kind="user", subject_id=user.id, address=address)
    return OpenedSession(secret, csrf)


def log_out(session: Session, secret: str, *, now: datetime) -> None:
    """End the session of a cookie."""
    row = AuthRepository(session).web_session(digest(secret))
    if row is not None and row.ended_at is None:
        row.ended_at = now
        ref = ActorRef("person", row.user_id, "")
        audit.record(session, Tag.LOGOUT, actor=ref, subject_kind="user", subject_id=row.user_id)


@dataclass(frozen=True)
class Resolved:
    """A cookie or token that was good: who it is and what the pages need."""

    actor: Actor
    csrf_token: str = ""
    seen_is_old: bool = False


def resolve_session(
    database: Database, secret: str, *, settings: Settings, now: datetime, day: date, address: str
) -> Resolved | None:
    """Return who a session cookie belongs to, or None when it is unknown, ended or expired."""
    held = browser_session(database, digest(secret))
    if held is None:
        return None
    idle = now - held.seen_at > timedelta(minutes=settings.session_idle_minutes)
    if idle or now - held.created_at > timedelta(hours=settings.session_hours):
        return None
    actor = Actor("person", held.user_id, held.name, held.login, in_force(held.posts, day), address)
    return Resolved(actor, held.csrf_token, now - held.seen_at > SEEN_EVERY)


def touch_session(session: Session, secret: str, now: datetime) -> None:
    """Write a session's sign of life."""
    row = AuthRepository(session).web_session(digest(secret))
    if row is not None:
        row.seen_at = now


def in_force(posts: Iterable[Post | PostGiven], day: date) -> tuple[PostHeld, ...]:
    """Return those of a person's posts that cover `day`."""
    held = (PostHeld(Role(post.role), post.site_id, post.valid_from, post.valid_to) for post in posts)
    return tuple(post for post in held if post.in_force(day))


def create_token(
    session: Session, *, role: Role, site_id: str | None, label: str, now: datetime, actor: ActorRef
) -> str:
    """Create a machine's token and return it; it cannot be shown again."""
    if role in SITE_ROLES and site_id is None:
        raise SiteNeeded
    secret = "hub_" + secrets.token_urlsafe(32)
    row = ApiToken(digest=digest(secret), label=label, role=role, site_id=site_id, created_at=now)
    session.add(row)
    session.flush()
    audit.record(
        session,
        Tag.TOKEN_CREATE,
        actor=actor,
        subject_kind="token",
        subject_id=row.id,
        site_id=site_id,
        role=str(role),
    )
    return secret


def revoke_token(session: Session, token_id: str, *, now: datetime, actor: ActorRef) -> None:
    """End a token for good; a second time changes nothing."""
    row = AuthRepository(session).token_by_id(token_id)
    if row is None:
        raise NotFound("no such token")
    if row.revoked_at is not None:
        return
    row.revoked_at = now
    audit.record(session, Tag.TOKEN_REVOKE, actor=actor, subject_kind="token", subject_id=row.id)


def resolve_token(database: Database, secret: str, *, address: str) -> Actor | None:
    """Return the machine a bearer token belongs to, or None."""
    row = token_in_force(database, digest(secret))
    if row is None:
        return None
    post = PostHeld(Role(row.role), row.site_id, row.created_at.date())
    return Actor("token", row.id, row.label or str(row.role), "", (post,), address)


def require_person(actor: Actor) -> None:
    """Raise `Forbidden` unless a person acts: machines neither read, sign nor confirm."""
    if actor.kind != "person":
        raise Forbidden("only a person may do that")
