"""WFDB records (PhysioNet): a text header and the data files that it names.

Samples in MATLAB 4 files, as in the PhysioNet/CinC challenges, are WFDB format 16 behind a
24-byte header and are read the same way. Annotation files are not read.
"""

from collections.abc import Mapping

from hub.ecg.errors import NoLeads
from hub.ecg.formats.wfdb_header import parse_header
from hub.ecg.formats.wfdb_segments import read_segments
from hub.ecg.formats.wfdb_signals import read_signals
from hub.ecg.leads import lead_from_text, unique_names
from hub.ecg.waveform import PatientText, Waveform

_COMMENT_FIELDS = {"age": "age", "<age>": "age", "sex": "sex", "<sex>": "sex"}


def read_wfdb(files: Mapping[str, bytes], header_name: str) -> Waveform:
    """Read one WFDB record, of one segment or of several.

    Parameters
    ----------
    files : mapping of str to bytes
        The header and every file that it and its segments' headers name, by file name.
    header_name : str
        Which of them is the header.

    Returns
    -------
    Waveform
        ``samples_mv = (stored - baseline) / gain``; a stored "no sample" value is NaN.
        Comment lines become ``device_statements``. Signals that are no ECG (other units than
        volts, or a description such as RESP) are left out with the warning ``channels_not_ecg``.

    Raises
    ------
    UnitsMissing
        A gain of 0 or none: WFDB calls that signal uncalibrated and would draw it with
        200 units per mV. That is a guess, and nothing is guessed here. Also when no signal
        is in volts.
    ChecksumWrong
        The samples are not those for which the header was written.
    CompanionMissing, Truncated, FormatFeature, RateMissing, NoLeads, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    Units left out beside a stated gain mean millivolts by definition of the format. Several
    samples per frame are kept as they are, at the higher rate; nothing is averaged.
    """
    header = parse_header(files[header_name])
    if not header.signals and not header.segments:
        raise NoLeads("the WFDB header lists no signal")
    warnings: list[str] = []
    signals = (read_segments if header.segments else read_signals)(files, header, warnings)
    leads, renamed = unique_names([_lead_name(s, n, warnings) for n, s in enumerate(signals.labels)])
    if renamed:
        warnings.append("lead_repeated")
    return Waveform(
        samples_mv=signals.samples_mv,
        rate_hz=signals.rate_hz,
        leads=leads,
        format="wfdb",
        started_at=header.started_at,
        started_at_source="WFDB base time" if header.started_at else "",
        lsb_mv=signals.lsb_mv,
        patient=_patient(header.comments),
        device_statements=header.comments,
        warnings=tuple(warnings),
    )


def _lead_name(description: str, column: int, warnings: list[str]) -> str:
    text = description.strip()
    if not text:
        warnings.append("lead_unnamed")
        return f"channel {column + 1}"
    return lead_from_text(text) or text[:64]


def _patient(comments: tuple[str, ...]) -> PatientText:
    """Take age and sex from comments of the form ``age: 51``, which the databases share."""
    found: dict[str, str] = {}
    for comment in comments:
        key, _, value = comment.partition(":")
        field = _COMMENT_FIELDS.get(key.strip().casefold())
        if field and value.strip():
            found.setdefault(field, value.split()[0][:64])
    return PatientText(age=found.get("age", ""), sex=found.get("sex", ""))
