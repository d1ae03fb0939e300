"""C-GET: objects on the very association on which they are asked for."""

from hub.context import Context
from hub.dicom.qr_find import asking_device, mismatch
from hub.dicom.qr_keys import IdentifierMismatch
from hub.dicom.qr_transfer import Progress, Sent, note_retrieval, send_object, wanted_by, with_rows
from hub.dicom.wire.service import Request


def get(context: Context, request: Request) -> None:
    """Answer one C-GET (PS3.4 section C.4.3). The peer takes the role of SCP for what it wants."""
    device = asking_device(request)
    try:
        wanted = wanted_by(context, request, device)
    except IdentifierMismatch as error:
        mismatch(request, error)
        return
    note_retrieval(context, request, device, wanted, request.peer.calling_ae)
    progress = Progress(len(wanted))
    for one, instance in with_rows(context, wanted):
        if request.cancelled():
            progress.finish(request, cancelled=True)
            return
        outcome = Sent.FAILED if instance is None else send_object(context, request.association, instance)
        progress.note(one.sop_uid, outcome)
        progress.pending(request)
    progress.finish(request)
