"""One way from a recording to the files of any format that is written."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.ecg.analysis.model import Measurement
from hub.ecg.waveform import Waveform
from hub.ecg.writers.sheet_text import header_lines, when_cut
from hub.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written, and how.

    Attributes
    ----------
    waveform : Waveform
        The recording.
    name : str
        Of the files, without ending.
    measurement : Measurement or None
        What the hub measured, for formats that can say it.
    exact : bool
        Whether what a format cannot hold is refused.
    language : str
        Of the words on a printed sheet.
    """

    waveform: Waveform
    name: str
    measurement: Measurement | None
    exact: bool
    language: str


class UnknownTarget(Unsupported):
    """No format of this name is written."""


def convert(
    waveform: Waveform,
    to: str,
    *,
    name: str,
    measurement: Measurement | None = None,
    exact: bool = True,
    language: str = "zh-CN",
) -> dict[str, bytes]:
    """Write a recording in another format.

    Parameters
    ----------
    waveform : Waveform
        The recording.
    to : str
        A key of `ENDINGS`.
    name : str
        Name of the files without ending.
    measurement : Measurement, optional
        What the hub measured: written as annotations by the formats that have them.
    exact : bool
        With False, what the target cannot hold exactly is rounded as its writer documents.
    language : str
        Of the words on a printed sheet: ``"zh-CN"`` or ``"en"``.

    Returns
    -------
    dict of str to bytes
        By file name; the first is the one that a reader opens. WFDB gives several, SVG one for each sheet.

    Raises
    ------
    UnknownTarget
        `to` is no key of `ENDINGS`.
    CannotHold
        The target cannot hold the recording; facts say what.
    """
    write = _WRITERS.get(to)
    if write is None:
        raise UnknownTarget(to=to[:32])
    return write(Job(waveform, name, measurement, exact, language))


def _dicom(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.dicom import write_dicom

    return _one(job, "dicom", write_dicom(job.waveform, measurement=job.measurement, exact=job.exact))


def _scp(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.scp import write_scp

    return _one(job, "scp", write_scp(job.waveform, measurement=job.measurement, exact=job.exact))


def _aecg(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.aecg import write_aecg

    return _one(job, "aecg", write_aecg(job.waveform, measurement=job.measurement, exact=job.exact))


def _wfdb(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.wfdb import write_wfdb

    given = job.waveform
    # The comments of a WFDB header are its statements, and age and sex already stand in them.
    patient = None if given.format == "wfdb" else given.patient
    return write_wfdb(
        given,
        job.name,
        patient=patient,
        comments=given.device_statements,
        measurement=job.measurement,
        exact=job.exact,
    )


def _edf(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.edf import write_edf

    return _one(job, "edf", write_edf(job.waveform, patient=job.waveform.patient, exact=job.exact))


def _fhir(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.fhir import write_fhir

    return _one(job, "fhir", write_fhir(job.waveform, measurement=job.measurement, exact=job.exact))


def _pdf(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.pdf import write_pdf

    lines = header_lines(job.waveform, job.measurement, job.language)
    return _one(
        job,
        "pdf",
        write_pdf(job.waveform, header_lines=lines, footer=job.name, when_cut=when_cut(job.language)),
    )


def _svg(job: Job) -> dict[str, bytes]:
    from hub.ecg.writers.pdf import draw_sheets

    lines = header_lines(job.waveform, job.measurement, job.language)
    sheets = draw_sheets(job.waveform, header_lines=lines, footer=job.name, when_cut=when_cut(job.language))
    return {
        f"{job.name}{f'-{number}' if number > 1 else ''}.svg": svg.encode()
        for number, svg in enumerate(sheets, start=1)
    }


def _one(job: Job, to: str, data: bytes) -> dict[str, bytes]:
    return {f"{job.name}{ENDINGS[to]}": data}


ENDINGS = {
    "dicom": ".dcm",
    "scp": ".scp",
    "aecg": ".xml",
    "wfdb": ".hea",
    "edf": ".edf",
    "fhir": ".json",
    "pdf": ".pdf",
    "svg": ".svg",
}
"""Formats that are written, and the ending of the file that is opened."""

_WRITERS: dict[str, Callable[[Job], dict[str, bytes]]] = {
    "dicom": _dicom,
    "scp": _scp,
    "aecg": _aecg,
    "wfdb": _wfdb,
    "edf": _edf,
    "fhir": _fhir,
    "pdf": _pdf,
    "svg": _svg,
}
