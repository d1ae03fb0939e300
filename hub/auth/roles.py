"""Who may do what: roles, permissions and the one table that joins them."""

from enum import StrEnum


class Role(StrEnum):
    """What a person (or a machine's token) is appointed to do at a site or at the centre."""

    TECHNICIAN = "technician"
    """Township technician (乡镇技师): takes the pictures, sends, mends mismatches of the own site."""
    DOCTOR = "doctor"
    """Township doctor (乡镇医生): orders, receives, confirms."""
    WRITER = "writer"
    """Radiologist who writes (书写医师)."""
    REVIEWER = "reviewer"
    """Radiologist who reviews and signs (审核医师)."""
    CARDIOLOGIST = "cardiologist"
    """Reader of ECGs with the right to sign alone (心电诊断医师)."""
    DIRECTOR = "director"
    """Director of the centre (中心主任)."""
    ADMIN = "admin"
    """IT administrator (信息管理员): never on clinical content."""
    AUDITOR = "auditor"
    """Auditor (审计员): reads the trail, changes nothing."""
    SENDER = "sender"
    """A machine that uploads objects for a site."""
    SITE_SYSTEM = "site-system"
    """A site's own system that fetches its reports."""
    MONITOR = "monitor"
    """A monitoring system that reads counts (Prometheus)."""


SITE_ROLES = frozenset({Role.TECHNICIAN, Role.DOCTOR, Role.SENDER, Role.SITE_SYSTEM})
"""Roles that make no sense without a site; all others belong to the centre unless bound to one."""

MACHINE_ROLES = frozenset({Role.SENDER, Role.SITE_SYSTEM, Role.MONITOR})
"""Roles that only tokens hold."""


class Permission(StrEnum):
    """One thing that a route or a command lets somebody do."""

    SELF = "self"
    """One's own session: language, password, logging out."""
    ORDER_CREATE = "order.create"
    EXAM_VIEW = "exam.view"
    EXAM_SEND = "exam.send"
    EXAM_CANCEL = "exam.cancel"
    EXAM_CLAIM = "exam.claim"
    EXAM_RELEASE = "exam.release"
    EXAM_REJECT = "exam.reject"
    IMAGES_VIEW = "images.view"
    UPLOAD = "upload"
    WORKLIST_VIEW = "worklist.view"
    REPORT_WRITE = "report.write"
    REPORT_REVIEW = "report.review"
    REPORT_SIGN_ALONE = "report.sign_alone"
    REPORT_VIEW = "report.view"
    REPORT_ACKNOWLEDGE = "report.acknowledge"
    REPORT_PULL = "report.pull"
    SITE_PAGE = "site.page"
    DESK_MATCH = "desk.match"
    DESK_QUARANTINE = "desk.quarantine"
    ADMINISTER = "administer"
    JOBS_VIEW = "jobs.view"
    AUDIT_VIEW = "audit.view"
    METRICS_VIEW = "metrics.view"


_P = Permission
_WATCHER = {_P.WORKLIST_VIEW, _P.EXAM_VIEW, _P.IMAGES_VIEW, _P.REPORT_VIEW}
_READER = _WATCHER | {_P.EXAM_REJECT}

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.TECHNICIAN: frozenset(
        {_P.SITE_PAGE, _P.ORDER_CREATE, _P.EXAM_VIEW, _P.EXAM_SEND, _P.EXAM_CANCEL, _P.IMAGES_VIEW}
        | {_P.UPLOAD, _P.REPORT_VIEW, _P.DESK_MATCH}
    ),
    Role.DOCTOR: frozenset(
        {_P.SITE_PAGE, _P.ORDER_CREATE, _P.EXAM_VIEW, _P.EXAM_CANCEL, _P.IMAGES_VIEW, _P.UPLOAD}
        | {_P.REPORT_VIEW, _P.REPORT_ACKNOWLEDGE}
    ),
    Role.WRITER: frozenset(_READER | {_P.EXAM_CLAIM, _P.REPORT_WRITE}),
    Role.REVIEWER: frozenset(_READER | {_P.REPORT_REVIEW}),
    Role.CARDIOLOGIST: frozenset(_READER | {_P.EXAM_CLAIM, _P.REPORT_WRITE, _P.REPORT_SIGN_ALONE}),
    Role.DIRECTOR: frozenset(_WATCHER | {_P.EXAM_RELEASE, _P.EXAM_CANCEL}),
    Role.ADMIN: frozenset({_P.ADMINISTER, _P.JOBS_VIEW, _P.DESK_QUARANTINE, _P.METRICS_VIEW}),
    Role.AUDITOR: frozenset({_P.AUDIT_VIEW}),
    Role.SENDER: frozenset({_P.UPLOAD}),
    Role.SITE_SYSTEM: frozenset({_P.REPORT_PULL}),
    Role.MONITOR: frozenset({_P.METRICS_VIEW}),
}
"""What each role may do. A permission that a role lacks here is refused everywhere."""

READS_MODALITIES: dict[Role, str] = {
    Role.WRITER: "imaging",
    Role.REVIEWER: "imaging",
    Role.CARDIOLOGIST: "ecg",
}
"""Which half of the worklist a reading role is licensed for (requirements: report by scope)."""
