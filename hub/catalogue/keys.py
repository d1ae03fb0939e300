"""Keys of received objects in the store: built here and nowhere else.

A key names what it holds well enough to find it by hand, and ends in the content's
hash, so that two different contents never share one and nothing is overwritten.
"""

from datetime import datetime

from hub.kit.uids import parse_uid

HASH_LENGTH = 20

INSTANCES, RECORDINGS, QUARANTINE, REPORTS = "dicom/", "ecg/", "quarantine/", "reports/"
PACKS, METADATA, NOTES = "packs/", "metadata/", "studies/"
"""What the keys of each kind begin with."""


def instance_key(site_code: str, study_uid: str, sop_uid: str, sha256: str) -> str:
    """Return the key of a DICOM instance. UIDs are checked: they become parts of a path."""
    return f"{INSTANCES}{site_code}/{parse_uid(study_uid)}/{parse_uid(sop_uid)}-{sha256[:HASH_LENGTH]}.dcm"


def recording_key(site_code: str, digest: str, file_number: int, sha256: str) -> str:
    """Return the key of one file of an ECG recording; the sender's file name stays in the row."""
    return f"{RECORDINGS}{site_code}/{digest[:HASH_LENGTH]}/{file_number:02d}-{sha256[:HASH_LENGTH]}.bin"


def quarantine_key(received_at: datetime, sha256: str) -> str:
    """Return the key of bytes that nobody has sorted yet."""
    return f"{QUARANTINE}{received_at:%Y%m%d}/{sha256}.bin"


def report_key(exam_number: str, version: int, sha256: str) -> str:
    """Return the key of a signed report document."""
    return f"{REPORTS}{exam_number}/{version:03d}-{sha256[:HASH_LENGTH]}.pdf"


def pack_key(site_code: str, study_uid: str, pack_id: str) -> str:
    """Return the key of a pack. Its name is new each time, so no pack ever takes another's place."""
    return f"{PACKS}{site_code}/{parse_uid(study_uid)}/{pack_id}.zip"


def metadata_key(site_code: str, study_uid: str, series_uid: str) -> str:
    """Return the key of the stored DICOM JSON of a series; made anew it replaces the one before."""
    return f"{METADATA}{site_code}/{parse_uid(study_uid)}/{parse_uid(series_uid)}.json.gz"


def note_key(site_code: str, study_uid: str) -> str:
    """Return the key of what is known of a study and stands in none of its files."""
    return f"{NOTES}{site_code}/{parse_uid(study_uid)}.json"


def site_and_study(key: str) -> tuple[str, str]:
    """Return site code and Study Instance UID of the key of an instance, a pack, metadata or a note.

    Raises
    ------
    BadUid
        It is none of these.
    """
    _, site_code, study, *_ = [*key.split("/"), "", ""]
    return site_code, parse_uid(study.removesuffix(".json"))


def sop_uid_of(key: str) -> str:
    """Return the SOP Instance UID in an instance's key; empty when it is no such key."""
    return key.rsplit("/", 1)[-1].partition("-")[0] if key.startswith(INSTANCES) else ""
