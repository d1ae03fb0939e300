"""What may be said of a device, and how it is checked before it is kept."""

import hashlib
import ipaddress
import re
import ssl
from typing import Any, TypedDict

from hub.errors import Rejected
from hub.kit.text import known_charset

FINGERPRINT = re.compile(r"[0-9a-f]{64}")
AE_LENGTH = 16
HIGHEST_PORT = 65535
QUERY_SCOPES = ("none", "site", "all")
"""What a device may query and retrieve, the least first."""


class AeTitleInvalid(Rejected):
    """An AE title is 1 to 16 printable ASCII characters without backslash."""


class AddressInvalid(Rejected):
    """An address is an IPv4 or IPv6 address, for example 10.1.2.3."""


class CharsetUnknown(Rejected):
    """The hub cannot decode that character set."""


class PortInvalid(Rejected):
    """A port is a number from 1 to 65535."""


class QueryScopeInvalid(Rejected):
    """What a device may query is none, site or all."""


class CertificateUnreadable(Rejected):
    """That is neither a certificate (PEM or DER) nor its SHA-256 fingerprint."""


class DeviceRules(TypedDict, total=False):
    """What may be said of a device beside its title; what is left out stays as it is."""

    address: str | None
    """IP address it calls from and is called back at; none when it has no fixed one."""
    port: int | None
    tls: bool
    certificate: str | bytes | None
    """Its TLS client certificate as PEM or DER, or the SHA-256 fingerprint of that."""
    charset: str | None
    strict_called: bool
    query_scope: str
    label: str


def checked_title(text: str) -> str:
    """Return an AE title without padding or raise `AeTitleInvalid` (PS3.5 section 6.2, AE)."""
    title = text.strip()
    if not 1 <= len(title) <= AE_LENGTH or not title.isascii() or not title.isprintable() or "\\" in title:
        raise AeTitleInvalid
    return title


def checked_rules(rules: DeviceRules) -> dict[str, Any]:
    """Return the columns that `rules` set, each checked."""
    values: dict[str, Any] = {name: rules[name] for name in ("tls", "strict_called") if name in rules}
    if "address" in rules:
        values["address"] = normal_address(rules["address"])
    if "port" in rules:
        values["port"] = rules["port"] or None
        if values["port"] is not None and not 1 <= values["port"] <= HIGHEST_PORT:
            raise PortInvalid
    if "certificate" in rules:
        values["certificate_sha256"] = fingerprint(rules["certificate"]) if rules["certificate"] else None
    if "charset" in rules:
        values["charset"] = rules["charset"] or None
        if values["charset"] and not known_charset(values["charset"]):
            raise CharsetUnknown
    if "query_scope" in rules:
        values["query_scope"] = rules["query_scope"]
        if values["query_scope"] not in QUERY_SCOPES:
            raise QueryScopeInvalid
    if "label" in rules:
        values["label"] = rules["label"].strip()[:64]
    return values


def fingerprint(certificate: str | bytes) -> str:
    """Return the SHA-256 of a certificate: 64 hexadecimal digits, without colons.

    Parameters
    ----------
    certificate
        A certificate as PEM or DER, or such a fingerprint as other programs print it.

    Raises
    ------
    CertificateUnreadable
        It is none of these.
    """
    from cryptography import x509

    text = certificate if isinstance(certificate, str) else certificate.decode("latin-1")
    digits = text.strip().lower().removeprefix("sha256 fingerprint=").replace(":", "").replace(" ", "")
    if FINGERPRINT.fullmatch(digits):
        return digits
    try:
        if "-----BEGIN CERTIFICATE-----" in text:
            begin = text.index("-----BEGIN CERTIFICATE-----")
            end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
            der = ssl.PEM_cert_to_DER_cert(text[begin:end])
        else:
            der = text.encode("latin-1")
        x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise CertificateUnreadable from error
    return hashlib.sha256(der).hexdigest()


def normal_address(address: str | None) -> str | None:
    """Return an IP address in one spelling, None for an empty one, or raise `AddressInvalid`."""
    if not address or not address.strip():
        return None
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError as error:
        raise AddressInvalid from error
    # An IPv4 device that reaches a dual-stack socket shows itself as ::ffff:10.1.2.3.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
