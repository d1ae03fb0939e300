"""Accounts, posts, sessions, tokens and signing keys."""

from datetime import date, datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class UserAccount(HasId, Base):
    """A person who can log in."""

    __tablename__ = "user_account"

    login: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(256))
    active: Mapped[bool] = mapped_column(default=True)
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Post(HasId, Base):
    """A role held at a site or at the centre, from one day to another."""

    __tablename__ = "post"
    __table_args__ = (UniqueConstraint("user_id", "role", "site_id", "valid_from"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"), index=True)
    role: Mapped[str] = mapped_column(String(32))
    site_id: Mapped[str | None] = mapped_column(ForeignKey("site.id"))
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]


class WebSession(Base):
    """A browser that is logged in; the key is the SHA-256 of the cookie, never the cookie."""

    __tablename__ = "web_session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"), index=True)
    csrf_token: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ApiToken(HasId, Base):
    """A machine's key; only its SHA-256 is kept."""

    __tablename__ = "api_token"

    digest: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(32))
    site_id: Mapped[str | None] = mapped_column(ForeignKey("site.id"))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuthorityKey(HasId, Base):
    """The hub's own certificate authority; its key is encrypted under a passphrase kept elsewhere."""

    __tablename__ = "authority_key"

    certificate_pem: Mapped[str] = mapped_column(Text)
    encrypted_key_pem: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class SigningKey(HasId, Base):
    """A signer's certificate and key; the key opens only with that person's password."""

    __tablename__ = "signing_key"

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"), index=True)
    serial: Mapped[str] = mapped_column(String(64), unique=True)
    certificate_pem: Mapped[str] = mapped_column(Text)
    encrypted_key_pem: Mapped[str] = mapped_column(Text)
    not_before: Mapped[datetime]
    not_after: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    """Set when a new key replaced this one; what it signed before stays valid."""
