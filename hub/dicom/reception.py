"""The receiving side of C-STORE: from the wire to the disk to the catalogue, one object at a time.

The pieces of a data set go straight into a staged object of the store, so that an object of
2 GB takes no more memory than one of 2 kB. Success is answered when the
bytes have their name durably and the row is committed, never before.
"""

from contextlib import suppress
from typing import NoReturn

import structlog

from hub.audit.service import ActorRef
from hub.catalogue.service import InstanceFacts, Origin, Outcome
from hub.context import Context
from hub.dicom import ingest
from hub.dicom.beginnings import Beginning, Beginnings
from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.dicom.group_commit import GroupCommit
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
        lambda peer: ObjectReceiver(context, group, peer),
    )


class ObjectReceiver:
    """What the objects of one association have in common; see `hub.dicom.wire.service.Receiver`."""

    def __init__(self, context: Context, group: GroupCommit, peer: Peer) -> None:
        self.context = context
        self.group = group
        self.peer = peer
        self.calling_ae = storable(peer.calling_ae)
        self.device = known_device(peer)
        self.origin: Origin | None = None
        self.beginnings: Beginnings | None = None
        if self.device is not None:
            actor = ActorRef("device", self.device.id, self.calling_ae)
            self.origin = Origin(self.device.site_id, actor, peer.address, self.device.id, self.calling_ae)
            self.beginnings = Beginnings(self.device.charset)
        self._staged: Staged | None = None

    def begin(self, context: association.Context, command: Command) -> "ObjectReception":
        """Begin to receive an object."""
        return ObjectReception(self, context, command)

    def prepare(self) -> None:
        """Stage the next object: to make a file takes a fifth of a millisecond."""
        with suppress(HubError, OSError, MemoryError):  # it is tried again, and told, when one comes
            self._staged = self.stage()

    def stage(self) -> Staged:
        """Return a staged object, the prepared one if there is one; raises `StoreUnavailable`."""
        staged, self._staged = self._staged, None
        return staged if staged is not None else ingest.stage(self.context)

    def close(self) -> None:
        """Throw away what was prepared."""
        if self._staged is not None:
            self._staged.discard()


class ObjectReception:
    """One object on its way in; see `hub.dicom.wire.service.Reception`.

    What goes wrong before the end is kept and answered at the end: a sender understands a
    status, and an association that is cut for a full disk would only be tried again.
    """

    def __init__(self, of: ObjectReceiver, presentation: association.Context, command: Command) -> None:
        self._of = of
        self._syntax = presentation.transfer_syntax
        self._sop_class = command.sop_class
        self._sop_instance = command.sop_instance
        self._staged: Staged | None = None
        self._failure: Exception | None = None
        self._header = b""
        self._offset = 0
        self._first: bytearray | None = bytearray() if of.beginnings is not None else None
        self._beginning: Beginning | None = None
        self._filed: Outcome | None = None
        try:
            self._begin()
        except (HubError, OSError, MemoryError) as error:
            self._failure = error

    def _begin(self) -> None:
        if not self._sop_class.isascii() or not self._sop_instance.isascii():
            raise WrongObject
        self._header = file_header(
            sop_class=self._sop_class,
            sop_instance=self._sop_instance,
            transfer_syntax=self._syntax,
            calling_ae=self._of.peer.calling_ae,
            called_ae=self._of.peer.called_ae,
        )
        self._staged = self._of.stage()
        self._offset = len(self._header)

    def write(self, piece: memoryview) -> None:
        """Take the next piece; after a failure it is read past."""
        if self._failure is not None or self._staged is None:
            return
        try:
            if self._header:  # with the first piece, in one call of the system
                self._staged.write_many((self._header, piece))
                self._header = b""
            else:
                self._staged.write(piece)
        except (StorageError, OSError, MemoryError) as error:
            self._failure = error
            return
        if self._first is not None:
            self._look_at(piece)

    def _look_at(self, piece: memoryview) -> None:
        """Read the header now, while the sender is busy with the rest."""
        first, beginnings = self._first, self._of.beginnings
        assert first is not None  # it is asked for until it is read
        assert beginnings is not None
        arguments = self._syntax, self._sop_class, self._offset
        if not first:
            self._beginning = beginnings.like_the_last(piece, *arguments)
        if self._beginning is None:
            first += piece[: FIRST_BYTES - len(first)]
            if len(first) < FIRST_BYTES:
                return
            self._beginning = beginnings.read(bytes(first), *arguments)
        self._first = None

    def finish(self) -> int:
        """Name the object, enter its row, and return the status to answer with."""
        try:
            if self._failure is not None:
                _fail(self._failure)
            self._file()
        except HubError as error:
            log.warning(
                "dicom_store_refused",
                association=self._of.peer.association_id,
                code=error.code,
                **error.facts,
            )
            return error.dimse_status
        except (StorageError, OSError, MemoryError) as error:
            log.error(  # noqa: TRY400 - the trace may quote what was received
                "dicom_store_failed", association=self._of.peer.association_id, error=type(error).__name__
            )
            return status.OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - the peer must have its answer
            log.error(  # noqa: TRY400 - only the class of the error: its text may quote the data set
                "dicom_store_failed", association=self._of.peer.association_id, error=type(error).__name__
            )
            return NOT_UNDERSTOOD
        return status.SUCCESS

    def end(self) -> None:
        """Let go of the staged object; one that did not come to its end is thrown away."""
        staged = self._staged
        if staged is None:
            return
        staged.discard()
        if self._filed is not None:
            log.info(
                "instance_received", sop_uid=self._sop_instance, outcome=str(self._filed), bytes=staged.size
            )

    def _file(self) -> None:
        staged, of = self._staged, self._of
        assert staged is not None  # only a failure leaves none
        if self._header:
            staged.write(self._header)  # an empty data set
        announced = Announced(self._sop_instance[:64], self._syntax, of.calling_ae, of.peer.address)
        if of.device is None or of.origin is None:
            ingest.keep_aside(of.context, staged, announced, None, why_unknown(of.peer), "")
            return
        try:
            parse_uid(self._sop_instance)
            facts = self._facts(staged, of.device.charset)
            if facts.sop_uid != self._sop_instance:
                raise WrongObject
        except HubError as error:
            ingest.keep_aside(of.context, staged, announced, of.origin, error.code, str(error))
            raise
        arrival = ingest.arrival_of(staged, facts, self._offset, of.origin, of.device.site_code)
        ingest.keep(staged, arrival)
        self._filed = of.group.register(arrival)

    def _facts(self, staged: Staged, charset: str | None) -> InstanceFacts:
        if self._beginning is not None:
            return self._beginning.complete(staged.size, staged.reader)
        header = ingest.header_of(
            staged, self._offset, self._syntax, charset=charset, sop_class=self._sop_class
        )
        return ingest.facts_of(header)


def _fail(error: Exception) -> NoReturn:
    raise error
