"""Every query about accounts, sessions, tokens and keys."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, select

from hub.auth.models import ApiToken, AuthorityKey, Post, SigningKey, UserAccount, WebSession
from hub.db.direct import Direct
from hub.db.repository import Repository
from hub.db.session import Database

# Every request asks for these: made once, because making a statement takes longer than running it.
_TOKEN = Direct(
    select(ApiToken.id, ApiToken.label, ApiToken.role, ApiToken.site_id, ApiToken.created_at).where(
        ApiToken.digest == bindparam("digest"), ApiToken.revoked_at.is_(None)
    )
)
_POSTS = select(Post).where(Post.user_id == bindparam("user")).order_by(Post.valid_from)


_BROWSER = Direct(
    select(
        WebSession.user_id,
        WebSession.csrf_token,
        WebSession.created_at,
        WebSession.seen_at,
        UserAccount.name,
        UserAccount.login,
        Post.role,
        Post.site_id,
        Post.valid_from,
        Post.valid_to,
    )
    .join(UserAccount, UserAccount.id == WebSession.user_id)
    .outerjoin(Post, Post.user_id == WebSession.user_id)
    .where(
        WebSession.digest == bindparam("digest"), WebSession.ended_at.is_(None), UserAccount.active.is_(True)
    )
    .order_by(Post.valid_from)
)


class PostGiven(NamedTuple):
    """A post as it was given, whether or not it is in force."""

    role: str
    site_id: str | None
    valid_from: date
    valid_to: date | None


class BrowserHeld(NamedTuple):
    """A browser session that nobody has ended, of an active account."""

    user_id: str
    csrf_token: str
    created_at: datetime
    seen_at: datetime
    name: str
    login: str
    posts: tuple[PostGiven, ...]


def browser_session(database: Database, digest: str) -> BrowserHeld | None:
    """Return a browser session with the person and all posts, in one statement."""
    found = _BROWSER.look(database, {"digest": digest})
    if not found:
        return None
    of_session = len(BrowserHeld._fields) - 1
    posts = tuple(PostGiven(*row[of_session:]) for row in found if row[of_session] is not None)
    user_id, csrf_token, created_at, seen_at, name, login = found[0][:of_session]
    return BrowserHeld(user_id, csrf_token, created_at, seen_at, name, login, posts)


class TokenHeld(NamedTuple):
    """What a token that is in force stands for."""

    id: str
    label: str
    role: str
    site_id: str | None
    created_at: datetime


def token_in_force(database: Database, digest: str) -> TokenHeld | None:
    """Return a token that has not been revoked."""
    found = _TOKEN.look(database, {"digest": digest})
    return TokenHeld(*found[0]) if found else None


class AuthRepository(Repository):
    """Accounts and what hangs on them."""

    def user(self, user_id: str) -> UserAccount | None:
        """Return an account by its id."""
        return self.session.get(UserAccount, user_id)

    def user_by_login(self, login: str) -> UserAccount | None:
        """Return an account by its login name, whatever its case."""
        return self.session.scalars(
            select(UserAccount).where(func.lower(UserAccount.login) == login.lower())
        ).one_or_none()

    def users(self) -> Sequence[UserAccount]:
        """Return all accounts by login."""
        return self.session.scalars(select(UserAccount).order_by(UserAccount.login)).all()

    def posts(self, user_id: str) -> Sequence[Post]:
        """Return a person's posts, past and present."""
        return self.session.scalars(_POSTS, {"user": user_id}).all()

    def all_posts(self) -> Sequence[Post]:
        """Return the posts of everybody."""
        return self.session.scalars(select(Post).order_by(Post.user_id, Post.valid_from)).all()

    def post(self, post_id: str) -> Post | None:
        """Return one post."""
        return self.session.get(Post, post_id)

    def web_session(self, digest: str) -> WebSession | None:
        """Return a browser session by the digest of its cookie."""
        return self.session.get(WebSession, digest)

    def open_sessions(self, user_id: str) -> Sequence[WebSession]:
        """Return the sessions of a person that have not ended."""
        return self.session.scalars(
            select(WebSession).where(WebSession.user_id == user_id, WebSession.ended_at.is_(None))
        ).all()

    def token_by_id(self, token_id: str) -> ApiToken | None:
        """Return a token by its row id."""
        return self.session.get(ApiToken, token_id)

    def tokens(self) -> Sequence[ApiToken]:
        """Return all tokens, newest first."""
        return self.session.scalars(select(ApiToken).order_by(ApiToken.created_at.desc())).all()

    def authority(self) -> AuthorityKey | None:
        """Return the authority that issues certificates now."""
        return self.session.scalars(
            select(AuthorityKey).order_by(AuthorityKey.created_at.desc()).limit(1)
        ).first()

    def authorities(self) -> Sequence[AuthorityKey]:
        """Return every authority that ever issued certificates."""
        return self.session.scalars(select(AuthorityKey).order_by(AuthorityKey.created_at)).all()

    def signing_key(self, user_id: str) -> SigningKey | None:
        """Return the key a person signs with now."""
        return self.session.scalars(
            select(SigningKey)
            .where(SigningKey.user_id == user_id, SigningKey.retired_at.is_(None))
            .order_by(SigningKey.not_before.desc())
            .limit(1)
        ).first()

    def signing_key_by_serial(self, serial: str) -> SigningKey | None:
        """Return the key whose certificate has this serial number, in use or retired."""
        return self.session.scalars(select(SigningKey).where(SigningKey.serial == serial)).one_or_none()
