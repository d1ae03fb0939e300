"""The Query/Retrieve services of the listener (PS3.4 annex C)."""

from collections.abc import Callable
from functools import partial

from hub.context import Context
from hub.dicom import qr_keys
from hub.dicom.qr_find import find
from hub.dicom.qr_get import get
from hub.dicom.qr_move import move
from hub.dicom.wire import dimse, status
from hub.dicom.wire.service import WIRE_SYNTAXES, Request, Service

_SERVICES = (
    ("query", (qr_keys.PATIENT_ROOT_FIND, qr_keys.STUDY_ROOT_FIND), dimse.C_FIND_RQ, find),
    ("move", (qr_keys.PATIENT_ROOT_MOVE, qr_keys.STUDY_ROOT_MOVE), dimse.C_MOVE_RQ, move),
    ("get", (qr_keys.PATIENT_ROOT_GET, qr_keys.STUDY_ROOT_GET), dimse.C_GET_RQ, get),
)


def qr_services(context: Context) -> list[Service]:
    """Return the services that let registered devices query and retrieve within their scope."""

    def handle(expected: int, answer: Callable[[Context, Request], None], request: Request) -> None:
        if request.command.field != expected:
            request.respond(status.UNRECOGNISED_OPERATION)
            return
        answer(context, request)

    return [
        Service(name, sop_classes, WIRE_SYNTAXES, partial(handle, expected, answer))
        for name, sop_classes, expected, answer in _SERVICES
    ]
