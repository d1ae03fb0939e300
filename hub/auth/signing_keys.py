"""The built-in certificate authority and each person's signing key, as rows."""

import os
import secrets
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.auth import certificates
from hub.auth.certificates import Authority, SignerCredential
from hub.auth.models import AuthorityKey, SigningKey, UserAccount
from hub.auth.passwords import check_password, hash_password
from hub.auth.repository import AuthRepository
from hub.auth.service import check_password_rule
from hub.config import Settings
from hub.errors import Forbidden, NotFound

CERTIFICATE_NAME_LENGTH = 64


class NoSigningKey(Forbidden):
    """The account has no signing certificate; the IT administrator can issue one."""


class WrongOldPassword(Forbidden):
    """The old password is wrong."""


def passphrase(settings: Settings) -> str:
    """Return the passphrase of the authority's key: the configured one, else one made here once.

    It lies beside the data, readable by the hub's own account only, so that a copy of
    the database alone does not give the authority away.
    """
    if settings.ca_passphrase:
        return settings.ca_passphrase
    file = settings.data_dir / "secrets" / "ca-passphrase"
    if not file.exists():
        _write_secret(file, secrets.token_urlsafe(32))
    return file.read_text(encoding="ascii").strip()


def _write_secret(file: Path, text: str) -> None:
    """Write a file that only this account can read; the first of several writers wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(temporary, file)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def authority(session: Session, settings: Settings, now: datetime) -> Authority:
    """Return the authority that issues certificates, making it the first time."""
    row = AuthRepository(session).authority()
    secret = passphrase(settings)
    if row is not None:
        return certificates.open_authority(
            row.certificate_pem.encode(), row.encrypted_key_pem.encode(), secret
        )
    made = certificates.create_authority(settings.centre_name[:CERTIFICATE_NAME_LENGTH], now=now)
    session.add(
        AuthorityKey(
            certificate_pem=made.certificate_pem.decode(),
            encrypted_key_pem=certificates.seal_authority(made, secret).decode(),
            created_at=now,
        )
    )
    session.flush()
    return made


def trust_roots(session: Session) -> list[bytes]:
    """Return the certificates of every authority the hub has had, as PEM."""
    return [row.certificate_pem.encode() for row in AuthRepository(session).authorities()]


def issue(
    session: Session, user: UserAccount, password: str, *, settings: Settings, now: datetime
) -> SigningKey:
    """Give a person a new key and certificate, opened by that person's password only; retire the old."""
    credential = certificates.issue_signer(
        authority(session, settings, now),
        common_name=user.name,
        login=user.login,
        organisation=settings.centre_name[:CERTIFICATE_NAME_LENGTH],
        password=password,
        now=now,
    )
    old = AuthRepository(session).signing_key(user.id)
    if old is not None:
        old.retired_at = now
    row = SigningKey(
        user_id=user.id,
        serial=credential.serial,
        certificate_pem=credential.certificate_pem.decode(),
        encrypted_key_pem=credential.encrypted_key_pem.decode(),
        not_before=credential.not_before,
        not_after=credential.not_after,
    )
    session.add(row)
    session.flush()
    return row


def credential_of(session: Session, user_id: str) -> SignerCredential:
    """Return the credential a person signs with.

    Raises
    ------
    NoSigningKey
        No certificate was ever issued to this account.
    """
    row = AuthRepository(session).signing_key(user_id)
    if row is None:
        raise NoSigningKey
    return _credential(row)


def _credential(row: SigningKey) -> SignerCredential:
    return SignerCredential(
        row.certificate_pem.encode(),
        row.encrypted_key_pem.encode(),
        row.serial,
        row.not_before,
        row.not_after,
    )


def change_password(session: Session, user_id: str, old: str, new: str, *, settings: Settings) -> None:
    """Let a person change the own password; the signing key stays the same under the new one.

    Raises
    ------
    WrongOldPassword
        `old` is not the present password.
    Rejected
        `new` does not meet the rules.
    """
    repository = AuthRepository(session)
    user = repository.user(user_id)
    if user is None:
        raise NotFound("no such account")
    if not check_password(user.password_hash, old):
        raise WrongOldPassword
    check_password_rule(new, settings)
    user.password_hash = hash_password(new)
    row = repository.signing_key(user_id)
    if row is not None:
        row.encrypted_key_pem = certificates.rewrap_key(_credential(row), old, new).encrypted_key_pem.decode()
    ref = ActorRef("person", user.id, user.login)
    audit.record(session, Tag.USER_CHANGE, actor=ref, subject_kind="user", subject_id=user.id, act="change")


def reset_password(
    session: Session, user_id: str, new: str, *, settings: Settings, now: datetime, actor: ActorRef
) -> None:
    """Let an administrator set a new password; the old signing key stays shut and a new one is issued.

    So nobody but the person can sign with a key that the person has used.
    """
    user = AuthRepository(session).user(user_id)
    if user is None:
        raise NotFound("no such account")
    check_password_rule(new, settings)
    user.password_hash, user.failures, user.locked_until = hash_password(new), 0, None
    for open_session in AuthRepository(session).open_sessions(user_id):
        open_session.ended_at = now
    issue(session, user, new, settings=settings, now=now)
    audit.record(session, Tag.USER_CHANGE, actor=actor, subject_kind="user", subject_id=user.id, act="reset")
