"""Sign report documents and say what a signature is worth.

PAdES baseline B-B (ETSI EN 319 142-1): a CAdES signature over every byte of the file, by
the signer's own certificate. The time in it is the hub's clock, stated by the hub and
bound by the signature; no timestamp authority vouches for it yet, so the level is B-B and
not B-T, and a verifier has to take the hub's word for the moment of signing.

Verification never opens a network connection: no revocation lists or responders are
fetched. Whether a certificate was withdrawn is the account room's knowledge, found by
`SignatureStatus.signer_serial`.
"""

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization

from hub.auth.certificates import SignerCredential, unlock_key
from hub.errors import Conflict, Forbidden
from hub.kit.clock import utcnow

if TYPE_CHECKING:
    from pyhanko.sign.validation import EmbeddedPdfSignature

FIELD_NAME = "HubSignature"
UNREADABLE = "unreadable"
NOT_SIGNED = "not_signed"
SIGNATURE_DAMAGED = "signature_damaged"
CONTENT_CHANGED = "content_changed"
SIGNATURE_INVALID = "signature_invalid"
CHANGED_AFTER_SIGNING = "changed_after_signing"
SIGNER_UNTRUSTED = "signer_untrusted"
CERTIFICATE_NOT_VALID_THEN = "certificate_not_valid_at_signing"
SIGNED_IN_FUTURE = "signed_in_future"
PROBLEMS = (
    UNREADABLE,
    NOT_SIGNED,
    SIGNATURE_DAMAGED,
    CONTENT_CHANGED,
    SIGNATURE_INVALID,
    CHANGED_AFTER_SIGNING,
    SIGNER_UNTRUSTED,
    CERTIFICATE_NOT_VALID_THEN,
    SIGNED_IN_FUTURE,
)
"""Every code `SignatureStatus.problems` can hold; keys of translated sentences."""

_SKEW = timedelta(minutes=5)


class CertificateNotValid(Forbidden):
    """The signing certificate is not valid at this time; it has to be renewed."""


class AlreadySigned(Conflict):
    """The document carries a signature; a signed document is never changed."""


@dataclass(frozen=True)
class SignatureStatus:
    """What is true of a document's signature, each truth for itself.

    Attributes
    ----------
    present : bool
        There is a signature field with a signature in it.
    intact : bool
        The bytes that were signed are the bytes that are there.
    valid : bool
        The cryptographic signature is that of the certificate's key.
    trusted : bool
        The certificate comes from one of the trust roots and was valid when signing.
    covers_whole_document : bool
        Nothing was added after signing, and nothing is left out.
    signer_name, signer_serial : str or None
        Common name, and serial number in lower-case hexadecimal, of the last signer's
        certificate. Only as good as `trusted`.
    signed_at : datetime or None
        Time stated in the signature, timezone-aware.
    problems : tuple of str
        Codes from `PROBLEMS`; empty exactly when all is well.
    """

    present: bool
    intact: bool
    valid: bool
    trusted: bool
    covers_whole_document: bool
    signer_name: str | None
    signer_serial: str | None
    signed_at: datetime | None
    problems: tuple[str, ...]


def sign_pdf(
    pdf: bytes,
    credential: SignerCredential,
    password: str,
    *,
    reason: str,
    location: str,
    signed_at: datetime,
) -> bytes:
    """Return `pdf` with the signer's PAdES B-B signature appended as an increment.

    Parameters
    ----------
    pdf : bytes
        An unsigned document.
    credential : SignerCredential
        The signer's certificate and wrapped key.
    password : str
        The signer's own; opens the key for this one signature.
    reason, location : str
        Written into the signature dictionary (ISO 32000-1 table 252).
    signed_at : datetime
        Timezone-aware; written as the time of signing.

    Raises
    ------
    WrongPassword
        The password does not open the key.
    AlreadySigned
        There is a signature in `pdf`.
    CertificateNotValid
        `signed_at` lies outside the certificate's validity.
    """
    from asn1crypto import keys, pem, x509
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import fields, signers
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    class _Signer(signers.PdfSigner):  # type: ignore[misc, unused-ignore]
        """Puts the stated time in place of the system's."""

        def init_signing_session(self, *args: Any, **options: Any) -> Any:
            session = super().init_signing_session(*args, **options)
            session.system_time = signed_at
            return session

    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    if writer.prev.embedded_signatures:
        raise AlreadySigned
    key = unlock_key(credential, password)
    if not credential.not_before <= signed_at <= credential.not_after:
        raise CertificateNotValid
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = x509.Certificate.load(pem.unarmor(credential.certificate_pem)[2])
    signer = signers.SimpleSigner(
        signing_cert=certificate,
        signing_key=keys.PrivateKeyInfo.load(private),
        # The authority's certificate is not embedded: whoever verifies must already have it,
        # and bytes that no signature covers are bytes that can change unnoticed.
        cert_registry=SimpleCertificateStore(),  # type: ignore[no-untyped-call, unused-ignore]
    )
    metadata = signers.PdfSignatureMetadata(
        field_name=FIELD_NAME,
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        reason=reason,
        location=location,
        name=certificate.subject.native.get("common_name"),
    )
    signed: io.BytesIO = _Signer(metadata, signer).sign_pdf(writer)
    return signed.getvalue()


def verify_pdf(pdf: bytes, trust_roots: Sequence[bytes]) -> SignatureStatus:
    """Say what is true of the signatures in `pdf`, offline and without raising.

    With several signatures each must hold; names and time are the last one's.

    Parameters
    ----------
    pdf : bytes
        Anything; garbage gives ``problems == ("unreadable",)``.
    trust_roots : sequence of bytes
        PEM certificates of the authorities to believe.
    """
    from pyhanko.pdf_utils.reader import PdfFileReader

    _hush()
    try:
        signatures = list(PdfFileReader(io.BytesIO(pdf)).embedded_regular_signatures)
    except Exception:  # noqa: BLE001 - a parser fed broken bytes may raise anything at all
        return _nothing(_trace(pdf) or UNREADABLE)
    if not signatures:
        return _nothing(_trace(pdf) or NOT_SIGNED)
    each = [_examine(pdf, signature, trust_roots) for signature in signatures]
    last = each[-1]
    found = {problem for status in each for problem in status.problems}
    if not last.covers_whole_document:
        found.add(CHANGED_AFTER_SIGNING)
    return SignatureStatus(
        present=True,
        intact=all(status.intact for status in each),
        valid=all(status.valid for status in each),
        trusted=all(status.trusted for status in each),
        covers_whole_document=last.covers_whole_document,
        signer_name=last.signer_name,
        signer_serial=last.signer_serial,
        signed_at=last.signed_at,
        problems=tuple(code for code in PROBLEMS if code in found),
    )


def _trace(pdf: bytes) -> str | None:
    """Name what happened to a signature that is no longer found, if there are traces of one."""
    ranges = re.findall(rb"/ByteRange ?\[ ?(\d{1,12}) (\d{1,12}) (\d{1,12}) (\d{1,12}) ?\]", pdf)
    if ranges and int(ranges[-1][2]) + int(ranges[-1][3]) < len(pdf):
        return CHANGED_AFTER_SIGNING
    return SIGNATURE_DAMAGED if b"/ByteRange" in pdf else None


@cache
def _hush() -> None:
    """Keep the libraries from logging the subjects of certificates: those are people."""
    for name in ("pyhanko", "pyhanko_certvalidator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _nothing(problem: str) -> SignatureStatus:
    return SignatureStatus(
        present=problem in {SIGNATURE_DAMAGED, CHANGED_AFTER_SIGNING},
        intact=False,
        valid=False,
        trusted=False,
        covers_whole_document=False,
        signer_name=None,
        signer_serial=None,
        signed_at=None,
        problems=(problem,),
    )


def _examine(pdf: bytes, signature: "EmbeddedPdfSignature", trust_roots: Sequence[bytes]) -> SignatureStatus:
    """Judge one signature; `covers_whole_document` is about this one alone."""
    try:
        return _judge(pdf, signature, trust_roots)
    except Exception:  # noqa: BLE001 - the ASN.1 inside is as broken as its sender likes
        return _nothing(SIGNATURE_DAMAGED)


def _judge(pdf: bytes, signature: "EmbeddedPdfSignature", trust_roots: Sequence[bytes]) -> SignatureStatus:
    from asn1crypto import pem, x509
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    signed_at = signature.self_reported_timestamp
    context = ValidationContext(
        trust_roots=[x509.Certificate.load(pem.unarmor(root)[2]) for root in trust_roots],
        allow_fetching=False,
        moment=signed_at,
    )
    verdict = validate_pdf_signature(signature, context)
    certificate = verdict.signing_cert
    now = utcnow()
    timely = signed_at is not None and (
        certificate.not_valid_before <= signed_at <= certificate.not_valid_after
    )
    future = signed_at is not None and signed_at > now + _SKEW
    problems = []
    if not _contents_canonical(pdf, signature):
        problems.append(SIGNATURE_DAMAGED)
    if not verdict.intact:
        problems.append(CONTENT_CHANGED)
    elif not verdict.valid:
        problems.append(SIGNATURE_INVALID)
    if not timely:
        problems.append(CERTIFICATE_NOT_VALID_THEN)
    elif verdict.intact and verdict.valid and not verdict.trusted:
        # Of a broken signature the library does not look at the chain; nothing to add then.
        problems.append(SIGNER_UNTRUSTED)
    if future:
        problems.append(SIGNED_IN_FUTURE)
    if not verdict.bottom_line and not problems:
        # What is left of the library's verdict is what was done to the file afterwards.
        problems.append(CHANGED_AFTER_SIGNING)
    return SignatureStatus(
        present=True,
        intact=verdict.intact,
        valid=verdict.valid,
        trusted=verdict.trusted and timely and not future,
        covers_whole_document=_covers(pdf, [int(number) for number in signature.byte_range]),
        signer_name=certificate.subject.native.get("common_name"),
        signer_serial=f"{certificate.serial_number:x}",
        signed_at=signed_at,
        problems=tuple(problems),
    )


def _covers(pdf: bytes, byte_range: list[int]) -> bool:
    """Whether the signed range is the whole file around one hexadecimal string."""
    if len(byte_range) != 4 or byte_range[0] != 0:  # noqa: PLR2004 - ISO 32000-1 12.8.1: two pairs
        return False
    _, gap, resumed, rest = byte_range
    return (
        0 < gap < resumed < len(pdf)
        and resumed + rest == len(pdf)
        and pdf[gap : gap + 1] == b"<"
        and pdf[resumed - 1 : resumed] == b">"
    )


def _contents_canonical(pdf: bytes, signature: "EmbeddedPdfSignature") -> bool:
    """Whether the bytes outside the signed range are this CMS object and nothing else.

    They are the only ones no digest covers. The padding after the object, the case of a
    hexadecimal digit and the parts of SignedData that only repeat the signer's choices could
    be changed without any verifier minding; here a change anywhere is a change.
    """
    from asn1crypto import cms

    _, gap, resumed, _ = (int(number) for number in signature.byte_range)
    message = cms.ContentInfo.load(signature.pkcs7_content)
    encoded = message.dump()
    padding = len(signature.pkcs7_content) - len(encoded)
    if pdf[gap:resumed] != b"<" + encoded.hex().upper().encode() + b"00" * padding + b">":
        return False
    data = message["content"]
    signer = data["signer_infos"][0]
    digest = signer["digest_algorithm"]
    return (
        len(data["signer_infos"]) == 1
        and data["version"].native == signer["version"].native == "v1"
        and [each.dump() for each in data["digest_algorithms"]] == [digest.dump()]
        and len(data["certificates"]) == 1
        and not data["crls"]
        and not signer["unsigned_attrs"]
    )
