"""Modality Performed Procedure Step SCP: the messages by which devices report (PS3.4 annex F)."""

from hub.context import Context
from hub.dicom.json_model import json_model
from hub.dicom.part10 import file_header
from hub.dicom.peers import device_of
from hub.dicom.wire import dimse, status
from hub.dicom.wire.service import WIRE_SYNTAXES, Request, Service
from hub.errors import Malformed
from hub.kit.uids import BadUid, new_uid, parse_uid
from hub.worklist import steps
from hub.worklist.steps import AttributeInvalid, Attributes, StepFinal

PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

NO_LONGER_UPDATED = 0xA710
"""Error ID of a failed N-SET: the step may no longer be updated (PS3.4 section F.7.2.2.2)."""


class StepUnreadable(Malformed):
    """The attributes of the procedure step cannot be read."""

    dimse_status = status.PROCESSING_FAILURE


def mpps_service(context: Context) -> Service:
    """Return the service that takes devices' reports of the exams they take."""
    return Service(
        "modality performed procedure step",
        (PERFORMED_PROCEDURE_STEP,),
        WIRE_SYNTAXES,
        lambda request: _handle(context, request),
    )


def _handle(context: Context, request: Request) -> None:
    if request.command.field == dimse.N_CREATE_RQ:
        _create(context, request)
    elif request.command.field == dimse.N_SET_RQ:
        _set(context, request)
    else:
        request.respond(status.UNRECOGNISED_OPERATION)


def _create(context: Context, request: Request) -> None:
    device = device_of(request)
    # The device names its step, or leaves that to the hub (PS3.7 section 10.1.5.1.4).
    sop_uid = _uid(request.command.sop_instance) if request.command.sop_instance else new_uid()
    attributes = read_attributes(request.dataset, request.context.transfer_syntax, device.charset)
    with context.db.transaction() as session:
        steps.begin_step(
            session, device, sop_uid, attributes, address=request.peer.address, now=context.clock()
        )
    request.respond(status.SUCCESS, AffectedSOPInstanceUID=sop_uid)


def _set(context: Context, request: Request) -> None:
    device = device_of(request)
    sop_uid = _uid(request.command.requested_sop_instance)
    attributes = read_attributes(request.dataset, request.context.transfer_syntax, device.charset)
    try:
        with context.db.transaction() as session:
            steps.change_step(
                session, device, sop_uid, attributes, address=request.peer.address, now=context.clock()
            )
    except StepFinal as error:
        request.respond(status.PROCESSING_FAILURE, ErrorID=NO_LONGER_UPDATED, ErrorComment=error.code)
        return
    request.respond(status.SUCCESS)


def _uid(text: str) -> str:
    try:
        return parse_uid(text)
    except BadUid as error:
        raise AttributeInvalid from error


def read_attributes(data: bytes, transfer_syntax: str, device_charset: str | None) -> Attributes:
    """Read what a device reports into DICOM JSON; texts as the device most likely meant them.

    Raises
    ------
    StepUnreadable
        It is no data set.
    """
    header = file_header(sop_class="", sop_instance="", transfer_syntax=transfer_syntax)
    try:
        return json_model(header + data, lambda path: path, device_charset).elements
    except Malformed as error:
        raise StepUnreadable from error
