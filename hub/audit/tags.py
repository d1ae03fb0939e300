"""The kinds of audit event: ``source:subject:action``."""

from enum import StrEnum


class Tag(StrEnum):
    """What happened. The text is stored and hashed, so a tag is never renamed."""

    LOGIN = "auth:session:login"
    LOGIN_FAILED = "auth:session:login_failed"
    LOGOUT = "auth:session:logout"
    ACCOUNT_LOCKED = "auth:account:locked"
    USER_CREATE = "auth:user:create"
    USER_CHANGE = "auth:user:change"
    TOKEN_CREATE = "auth:token:create"  # noqa: S105 - no secret
    TOKEN_REVOKE = "auth:token:revoke"  # noqa: S105 - no secret

    SITE_CREATE = "sites:site:create"
    DEVICE_CREATE = "sites:device:create"
    DEVICE_CHANGE = "sites:device:change"
    NODE_CREATE = "dicom:node:create"
    NODE_CHANGE = "dicom:node:change"
    NODE_REMOVE = "dicom:node:remove"
    FORWARD_REQUEST = "dicom:forward:request"
    FORWARD_CANCEL = "dicom:forward:cancel"
    STUDY_FORWARD = "dicom:study:forward"
    COMMITMENT_REPORT = "dicom:commitment:report"

    INSTANCE_RECEIVE = "catalogue:instance:receive"
    INSTANCE_DUPLICATE = "catalogue:instance:duplicate"
    CONFLICT_RAISE = "catalogue:conflict:raise"
    QUARANTINE_KEEP = "catalogue:quarantine:keep"
    QUARANTINE_RESOLVE = "catalogue:quarantine:resolve"
    OBJECT_DAMAGED = "catalogue:object:damaged"
    CONFLICT_PROPOSE = "catalogue:conflict:propose"
    CONFLICT_DISMISS = "catalogue:conflict:dismiss"
    NAME_CORRECT = "catalogue:name:correct"
    NAME_UNDO = "catalogue:name:undo"
    STUDY_SETTLE = "catalogue:study:settle"
    STUDY_VIEW = "catalogue:study:view"
    STUDY_PREVIEW = "catalogue:study:preview"
    STUDY_DOWNLOAD = "catalogue:study:download"
    CATALOGUE_QUERY = "catalogue:study:query"
    RECORDING_RECEIVE = "ecg:recording:receive"

    PATIENT_RENAME = "patients:patient:rename"
    PATIENT_VIEW = "patients:patient:view"

    ORDER_CREATE = "worklist:order:create"
    WORKLIST_QUERY = "worklist:order:query"
    STEP_REPORT = "worklist:step:report"
    EXAM_TRANSITION = "worklist:exam:transition"
    EXAM_VIEW = "worklist:exam:view"
    EXAM_MATCH = "worklist:exam:match"

    ECG_EDIT = "worklist:ecg:edit"
    HINT_DISMISS = "worklist:ecg:dismiss"

    REPORT_SAVE = "reports:report:save"
    REPORT_SUBMIT = "reports:report:submit"
    REPORT_RETURN = "reports:report:return"
    REPORT_SIGN = "reports:report:sign"
    REPORT_VIEW = "reports:report:view"
    REPORT_DOWNLOAD = "reports:report:download"

    REPORT_DELIVER = "delivery:report:deliver"
    REPORT_ACKNOWLEDGE = "delivery:report:acknowledge"

    JOB_RETRY = "jobs:job:retry"
    JOB_CANCEL = "jobs:job:cancel"

    AUDIT_SEARCH = "audit:trail:search"
    AUDIT_EXPORT = "audit:trail:export"
