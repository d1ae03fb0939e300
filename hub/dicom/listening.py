"""The hub's DICOM doors: plain and TLS ports with the limits and certificates of the settings."""

import ssl
from collections.abc import Sequence

from hub.config import Settings, split_bind
from hub.context import Context
from hub.dicom.peers import admit, note_refusal
from hub.dicom.reception import storage_service
from hub.dicom.wire.gate import ListenerSettings
from hub.dicom.wire.server import Listener, listen
from hub.dicom.wire.service import Service
from hub.errors import HubError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (PS3.15 annex B.12, BCP 195)."""


REQUEST_SECONDS = 30.0
"""A connection that has not asked for an association by then is closed."""


class TlsMisconfigured(HubError):
    """The certificate, key or authority for DICOM over TLS cannot be used."""


def start_listening(context: Context, services: Sequence[Service], *, shared_port: bool = False) -> Listener:
    """Open the doors of a hub.

    Parameters
    ----------
    services : sequence of Service
        Beside verification and storage, which are always there.
    shared_port : bool
        Whether other processes listen on the same ports.

    Raises
    ------
    OSError
        An address is not free.
    TlsMisconfigured
        See there.
    """
    settings = context.settings
    doors = [_door(settings, settings.dicom_bind, None, shared_port=shared_port)]
    if settings.dicom_tls_bind:
        doors.append(
            _door(settings, settings.dicom_tls_bind, server_context(settings), shared_port=shared_port)
        )
    return listen(
        doors,
        lambda peer: admit(context, peer),
        services,
        storage_service(context),
        lambda peer, reason, detail: note_refusal(context, peer, reason, detail),
        context.clock,
    )


def server_context(settings: Settings) -> ssl.SSLContext:
    """Return how the TLS port speaks: BCP 195 profile, client certificates as set.

    Raises
    ------
    TlsMisconfigured
        A file is absent or holds something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    try:
        context.load_cert_chain(settings.dicom_tls_certificate or "", settings.dicom_tls_key or None)
        if settings.dicom_tls_clients != "none":
            context.load_verify_locations(settings.dicom_tls_ca or "")
    except (OSError, ssl.SSLError) as error:
        raise TlsMisconfigured(f"DICOM over TLS cannot be offered: {error}") from error
    context.verify_mode = {
        "none": ssl.CERT_NONE,
        "optional": ssl.CERT_OPTIONAL,
        "required": ssl.CERT_REQUIRED,
    }[settings.dicom_tls_clients]
    return context


def client_context(settings: Settings) -> ssl.SSLContext:
    """Return how the hub calls others over TLS: their certificate must come from a known authority.

    The hub shows its own certificate when it has one.

    Raises
    ------
    TlsMisconfigured
        A file is absent or holds something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    # Devices are called by address; their certificates rarely name it.
    context.check_hostname = False
    try:
        if settings.dicom_tls_ca:
            context.load_verify_locations(settings.dicom_tls_ca)
        else:
            context.load_default_certs()
        if settings.dicom_tls_certificate:
            context.load_cert_chain(settings.dicom_tls_certificate, settings.dicom_tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsMisconfigured(f"DICOM over TLS cannot be used: {error}") from error
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _door(
    settings: Settings, bind: str, tls: ssl.SSLContext | None, *, shared_port: bool
) -> ListenerSettings:
    host, port = split_bind(bind)
    return ListenerSettings(
        host=host,
        port=port,
        tls=tls,
        maximum_associations=settings.dicom_max_associations,
        queue_seconds=settings.dicom_queue_seconds,
        request_seconds=min(REQUEST_SECONDS, settings.dicom_idle_seconds),
        silence_seconds=settings.dicom_idle_seconds,
        shared_port=shared_port,
    )
