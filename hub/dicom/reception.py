"""The receiving side of C-STORE: from the wire to the disk to the catalogue, one object at a time.

The pieces of a data set go straight into a staged object of the store, so that an object of
2 GB takes no more memory than one of 2 kB. Success is answered when the
bytes have their name durably and the row is committed, never before.
"""

from typing import NoReturn

import structlog

from hub.audit.service import ActorRef
from hub.catalogue.service import Origin
from hub.context import Context
from hub.dicom import ingest
from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.dicom.group_commit import GroupCommit
from hub.dicom.header import ArrivingHeader, InstanceHeader, read_beginning
from hub.dicom.ingest import Announced, WrongObject
from hub.dicom.part10 import file_header
from hub.dicom.peers import known_device, storable, why_unknown
from hub.dicom.wire import association, status
from hub.dicom.wire.association import Peer
from hub.dicom.wire.dimse import Command
from hub.dicom.wire.service import StorageService
from hub.errors import HubError
from hub.kit.uids import parse_uid
from storage.errors import StorageError
from storage.staged import Staged

log = structlog.get_logger()

FIRST_BYTES = 64 * 1024
"""Of a data set: the header is read from them while the rest comes in. A smaller object is here at once."""

NOT_UNDERSTOOD = 0xC211
"""Cannot understand: of the range of PS3.4 Table B.2-1, for what nobody foresaw."""


def storage_service(context: Context) -> StorageService:
    """Return the C-STORE service of a hub: every storage class in every transfer syntax."""
    group = GroupCommit(context)
    return StorageService(
        frozenset(storage_classes()),
        frozenset(transfer_syntaxes()),
        lambda peer, presentation, command: ObjectReception(context, group, peer, presentation, command),
    )


class ObjectReception:
    """One object on its way in; see `hub.dicom.wire.service.Reception`.

    What goes wrong before the end is kept and answered at the end: a sender understands a
    status, and an association that is cut for a full disk would only be tried again.
    """

    def __init__(
        self,
        context: Context,
        group: GroupCommit,
        peer: Peer,
        presentation: association.Context,
        command: Command,
    ) -> None:
        self._context = context
        self._group = group
        self._peer = peer
        self._syntax = presentation.transfer_syntax
        self._sop_class = command.sop_class
        self._sop_instance = command.sop_instance
        self._staged: Staged | None = None
        self._failure: Exception | None = None
        self._offset = 0
        self._device = known_device(peer)
        self._first: bytearray | None = bytearray() if self._device else None
        self._arriving: ArrivingHeader | None = None
        try:
            self._begin()
        except (HubError, OSError, MemoryError) as error:
            self._failure = error

    def _begin(self) -> None:
        if not self._sop_class.isascii() or not self._sop_instance.isascii():
            raise WrongObject
        header = file_header(
            sop_class=self._sop_class,
            sop_instance=self._sop_instance,
            transfer_syntax=self._syntax,
            calling_ae=self._peer.calling_ae,
            called_ae=self._peer.called_ae,
        )
        self._staged = ingest.stage(self._context)
        self._staged.write(header)
        self._offset = len(header)

    def write(self, piece: memoryview) -> None:
        """Take the next piece; after a failure it is read past."""
        if self._failure is not None or self._staged is None:
            return
        try:
            self._staged.write(piece)
        except (StorageError, OSError, MemoryError) as error:
            self._failure = error
            return
        if self._first is not None:
            self._first += piece[: FIRST_BYTES - len(self._first)]
            if len(self._first) == FIRST_BYTES:
                self._read_beginning()

    def _read_beginning(self) -> None:
        """Read the header now, while the sender is busy with the rest."""
        assert self._first is not None  # it is asked for once
        assert self._device is not None
        first, self._first = bytes(self._first), None
        self._arriving = read_beginning(
            first, self._syntax, self._device.charset, sop_class=self._sop_class, start=self._offset
        )

    def finish(self) -> int:
        """Name the object, enter its row, and return the status to answer with."""
        try:
            if self._failure is not None:
                _fail(self._failure)
            self._file()
        except HubError as error:
            log.warning(
                "dicom_store_refused", association=self._peer.association_id, code=error.code, **error.facts
            )
            return error.dimse_status
        except (StorageError, OSError, MemoryError) as error:
            log.error(  # noqa: TRY400 - the trace may quote what was received
                "dicom_store_failed", association=self._peer.association_id, error=type(error).__name__
            )
            return status.OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - the peer must have its answer
            log.error(  # noqa: TRY400 - only the class of the error: its text may quote the data set
                "dicom_store_failed", association=self._peer.association_id, error=type(error).__name__
            )
            return NOT_UNDERSTOOD
        return status.SUCCESS

    def discard(self) -> None:
        """Forget what did not come to its end."""
        if self._staged is not None:
            self._staged.discard()

    def _file(self) -> None:
        staged = self._staged
        assert staged is not None  # only a failure leaves none
        device = self._device
        announced = Announced(
            self._sop_instance[:64], self._syntax, storable(self._peer.calling_ae), self._peer.address
        )
        if device is None:
            ingest.keep_aside(self._context, staged, announced, None, why_unknown(self._peer), "")
            return
        origin = Origin(
            device.site_id,
            ActorRef("device", device.id, storable(self._peer.calling_ae)),
            self._peer.address,
            device.id,
            storable(self._peer.calling_ae),
        )
        try:
            parse_uid(self._sop_instance)
            header = self._header(staged, device.charset)
            if header.sop_uid != self._sop_instance:
                raise WrongObject
        except HubError as error:
            ingest.keep_aside(self._context, staged, announced, origin, error.code, str(error))
            raise
        arrival = ingest.arrival_of(staged, header, self._offset, origin, device.site_code)
        ingest.keep(staged, arrival)
        outcome = self._group.register(arrival)
        log.info("instance_received", sop_uid=header.sop_uid, outcome=str(outcome), bytes=staged.size)

    def _header(self, staged: Staged, charset: str | None) -> InstanceHeader:
        if self._arriving is not None:
            return self._arriving.complete(staged.size, staged.reader)
        return ingest.header_of(
            staged, self._offset, self._syntax, charset=charset, sop_class=self._sop_class
        )


def _fail(error: Exception) -> NoReturn:
    raise error
