"""Keys of received objects in the store: built here and nowhere else.

A key names what it holds well enough to find it by hand, and ends in the content's
hash, so that two different contents never share one and nothing is overwritten.
"""

from datetime import datetime

from hub.kit.uids import parse_uid

HASH_LENGTH = 20


def instance_key(site_code: str, study_uid: str, sop_uid: str, sha256: str) -> str:
    """Return the key of a DICOM instance. UIDs are checked: they become parts of a path."""
    return f"dicom/{site_code}/{parse_uid(study_uid)}/{parse_uid(sop_uid)}-{sha256[:HASH_LENGTH]}.dcm"


def recording_key(site_code: str, digest: str, file_number: int, sha256: str) -> str:
    """Return the key of one file of an ECG recording; the sender's file name stays in the row."""
    return f"ecg/{site_code}/{digest[:HASH_LENGTH]}/{file_number:02d}-{sha256[:HASH_LENGTH]}.bin"


def quarantine_key(received_at: datetime, sha256: str) -> str:
    """Return the key of bytes that nobody has sorted yet."""
    return f"quarantine/{received_at:%Y%m%d}/{sha256}.bin"


def report_key(exam_number: str, version: int, sha256: str) -> str:
    """Return the key of a signed report document."""
    return f"reports/{exam_number}/{version:03d}-{sha256[:HASH_LENGTH]}.pdf"
