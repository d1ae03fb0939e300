"""The hub's built-in certificate authority and its doctors' signing keys.

Pure cryptography: no database, no settings, no clock but the one handed in.

A doctor's private key exists only wrapped under that doctor's own password
(PKCS#8, PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC, RFC 8018). The hub keeps the
wrapped key and never the password, so it can make a signature only while the doctor
is there to type it. What it does not protect against is written in
docs/decisions/0006-report-pdf-and-signature.md.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from hub.errors import Forbidden, HubError, Rejected
from hub.kit.clock import utcnow

AUTHORITY_YEARS = 20
SIGNER_YEARS = 3
CLOCK_SKEW = timedelta(minutes=5)
"""Certificates start this much earlier: machines of one county differ by minutes."""

_DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # id-kp-documentSigning, RFC 9336
_KDF_ROUNDS = 600_000  # each password tried costs about 0.2 s of one core
_MAX_NAME = 64  # ub-common-name and ub-organization-name, RFC 5280 appendix A.1


class WrongPassword(Forbidden):
    """The password does not open this key."""


class DamagedCredential(HubError):
    """A stored key or certificate cannot be read, or the two do not belong together."""


class UnusableIdentity(Rejected):
    """A certificate cannot be made out to this name."""


@dataclass(frozen=True)
class Authority:
    """The hub's certificate authority with its key opened.

    Attributes
    ----------
    certificate_pem : bytes
        Self-signed certificate; hand this to whoever verifies reports.
    private_key : EllipticCurvePrivateKey
        P-256. Keep it only while certificates are being issued.
    """

    certificate_pem: bytes
    private_key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"Authority(subject={self.certificate.subject.rfc4514_string()!r})"

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate_pem)


@dataclass(frozen=True)
class SignerCredential:
    """One person's signing certificate and wrapped private key.

    Attributes
    ----------
    certificate_pem, encrypted_key_pem : bytes
        Certificate and PKCS#8 ``ENCRYPTED PRIVATE KEY``.
    serial : str
        Certificate serial number in lower-case hexadecimal.
    not_before, not_after : datetime
        Validity, UTC.
    """

    certificate_pem: bytes
    encrypted_key_pem: bytes
    serial: str
    not_before: datetime
    not_after: datetime


def create_authority(name: str, *, now: datetime | None = None) -> Authority:
    """Make a new self-signed authority, valid for 20 years.

    Parameters
    ----------
    name : str
        Common name, 1 to 64 characters.
    now : datetime, optional
        Moment of issue, timezone-aware; the present by default.

    Raises
    ------
    UnusableIdentity
        The name is empty or too long.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name((NameOID.COMMON_NAME, name))
    not_before = _start(now or utcnow())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_before + timedelta(days=round(365.25 * AUTHORITY_YEARS)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), key)


def seal_authority(authority: Authority, passphrase: str) -> bytes:
    """Return the authority's private key as PEM, encrypted under `passphrase`."""
    return _wrap(authority.private_key, passphrase)


def open_authority(certificate_pem: bytes, encrypted_key_pem: bytes, passphrase: str) -> Authority:
    """Return the authority whose key was sealed by `seal_authority`.

    Raises
    ------
    WrongPassword
        The passphrase is not the one it was sealed with.
    DamagedCredential
        The PEM is not readable, or certificate and key do not belong together.
    """
    key = _unwrap(encrypted_key_pem, passphrase)
    _require_pair(certificate_pem, key)
    return Authority(certificate_pem, key)


def issue_signer(
    authority: Authority, *, common_name: str, login: str, organisation: str, password: str, now: datetime
) -> SignerCredential:
    """Make a key pair and a signing certificate for one person.

    The certificate asserts digitalSignature and nonRepudiation (RFC 5280 4.2.1.3) and the
    purposes documentSigning (RFC 9336) and emailProtection; the latter because readers
    built on NSS, poppler's among them, check signers under that purpose.

    Parameters
    ----------
    common_name, organisation : str
        As printed on reports, 1 to 64 characters each.
    login : str
        Account name, kept as the subject's user id, so that two doctors of one name differ.
    password : str
        The person's own; wraps the private key and is not kept.
    now : datetime
        Moment of issue, timezone-aware.

    Raises
    ------
    UnusableIdentity
        A name is empty or too long, the password is empty, or the authority's own
        validity does not cover `now`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    not_before = max(_start(now), issuer.not_valid_before_utc)
    not_after = min(_start(now) + timedelta(days=365 * SIGNER_YEARS), issuer.not_valid_after_utc)
    if not_before >= not_after:
        raise UnusableIdentity("the authority is not valid at this time")
    subject = _name(
        (NameOID.COMMON_NAME, common_name),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.USER_ID, login),
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, content_commitment=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([_DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.private_key.public_key()),
            critical=False,
        )
        .sign(authority.private_key, hashes.SHA256())
    )
    return SignerCredential(
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        encrypted_key_pem=_wrap(key, password),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def rewrap_key(credential: SignerCredential, old_password: str, new_password: str) -> SignerCredential:
    """Return the same credential with its key under another password.

    Raises
    ------
    WrongPassword
        `old_password` does not open the key.
    UnusableIdentity
        `new_password` is empty.
    """
    return replace(credential, encrypted_key_pem=_wrap(unlock_key(credential, old_password), new_password))


def unlock_key(credential: SignerCredential, password: str) -> ec.EllipticCurvePrivateKey:
    """Open a person's private key; let go of it as soon as the signature is made.

    Raises
    ------
    WrongPassword
        The password does not open the key.
    DamagedCredential
        The PEM is not readable, or certificate and key do not belong together.
    """
    key = _unwrap(credential.encrypted_key_pem, password)
    _require_pair(credential.certificate_pem, key)
    return key


def issued_by(certificate_pem: bytes, authority_pem: bytes) -> bool:
    """Whether `authority_pem` signed `certificate_pem`; dates are not looked at."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _start(now: datetime) -> datetime:
    return now.replace(microsecond=0) - CLOCK_SKEW


def _name(*parts: tuple[ObjectIdentifier, str]) -> x509.Name:
    for _, value in parts:
        if not value.strip() or len(value) > _MAX_NAME:
            raise UnusableIdentity(f"a name on a certificate has 1 to {_MAX_NAME} characters")
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _key_usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _wrap(key: ec.EllipticCurvePrivateKey, password: str) -> bytes:
    """Return `key` as PKCS#8 EncryptedPrivateKeyInfo.

    Built here because cryptography's own PKCS#8 writer does not let the cost of the key
    derivation be chosen; any PKCS#8 reader (cryptography, openssl) opens the result.
    """
    from asn1crypto import algos, keys, pem
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC
    from cryptography.hazmat.primitives.padding import PKCS7

    if not password:
        raise UnusableIdentity("a signing key needs a password")
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, iv = os.urandom(16), os.urandom(16)
    derived = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _KDF_ROUNDS, 32)
    padder = PKCS7(AES.block_size).padder()
    encryptor = Cipher(AES(derived), CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    info = keys.EncryptedPrivateKeyInfo(
        {
            "encryption_algorithm": {
                "algorithm": "pbes2",
                "parameters": {
                    "key_derivation_func": {
                        "algorithm": "pbkdf2",
                        "parameters": {
                            "salt": algos.Pbkdf2Salt("specified", salt),
                            "iteration_count": _KDF_ROUNDS,
                            "key_length": 32,
                            "prf": {"algorithm": "sha256"},
                        },
                    },
                    "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": iv},
                },
            },
            "encrypted_data": encrypted,
        }
    )
    return bytes(pem.armor("ENCRYPTED PRIVATE KEY", info.dump()))


def _unwrap(encrypted_key_pem: bytes, password: str) -> ec.EllipticCurvePrivateKey:
    from asn1crypto import keys, pem

    try:
        # Read the envelope first: afterwards a failure to decrypt can only mean the password.
        kind, _, der = pem.unarmor(encrypted_key_pem)
        envelope = keys.EncryptedPrivateKeyInfo.load(der, strict=True)
        readable = kind == "ENCRYPTED PRIVATE KEY" and bool(envelope.native["encrypted_data"])
    except (ValueError, TypeError, KeyError):
        readable = False
    if not readable:
        raise DamagedCredential
    if not password:
        raise WrongPassword
    try:
        key = serialization.load_pem_private_key(encrypted_key_pem, password.encode())
    except (ValueError, UnsupportedAlgorithm):
        # From None: the inner message tells padding errors apart, which nobody needs to learn.
        raise WrongPassword from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DamagedCredential
    return key


def _require_pair(certificate_pem: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise DamagedCredential from None
    if certificate.public_key() != key.public_key():
        raise DamagedCredential
