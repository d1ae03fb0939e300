"""Coded terms of a DICOM ECG (PS3.16): leads, units, measurements, waves."""

from typing import TYPE_CHECKING

from hub.ecg.leads import lead_from_code

if TYPE_CHECKING:
    from pydicom import Dataset

_LEAD_CODES = {name: code for code in range(255, 0, -1) if (name := lead_from_code(code))}
_UNSPECIFIED_LEAD = 0
_UNIT_NAMES = {
    "uV": "microvolt",
    "mV": "millivolt",
    "ms": "millisecond",
    "/min": "/min",
    "deg": "Degree",
    "1": "no units",
}
_UCUM = {"bpm": "/min", "": "1"}

MEASUREMENTS = {
    "hr_bpm": ("2:16016", "Heart rate"),
    "rr_mean_ms": ("2:16168", "RR interval global"),
    "p_ms": ("2:16184", "P duration global"),
    "pr_ms": ("2:15872", "PR interval global"),
    "qrs_ms": ("2:16156", "QRS duration global"),
    "qt_ms": ("2:16160", "QT interval global"),
    "qtc_ms": ("2:15876", "QTc interval global"),
    "qtc_bazett_ms": ("2:15880", "QTc global using Bazett formula"),
    "qtc_fridericia_ms": ("2:15892", "QTc global using Fredericia formula"),
    "p_axis_deg": ("2:16128", "P Axis"),
    "qrs_axis_deg": ("2:16132", "QRS axis"),
    "t_axis_deg": ("2:16136", "T axis"),
}
"""Global measurements by their names here: code and meaning in CID 3227, 3228 and 3229."""

LEAD_MEASUREMENTS = {
    "p_ms": ("2:6656", "P duration per lead"),
    "qrs_ms": ("2:7936", "QRS duration per lead"),
    "qt_ms": ("2:8192", "QT interval per lead"),
    "q_mv": ("2:1792", "Q amplitude, per lead"),
    "r_mv": ("2:2048", "R amplitude, per lead"),
    "s_mv": ("2:2304", "S amplitude, per lead"),
    "st_j_uv": ("2:1024", "J point Amplitude, per lead"),
    "st_j20_uv": ("2:14848", "Amplitude at 20 ms into ST segment, per lead"),
    "st_j60_uv": ("2:14336", "Amplitude at 60 ms into ST segment, per lead"),
    "st_j80_uv": ("2:14592", "Amplitude at 80 ms into ST segment, per lead"),
}
"""Measurements of one lead: CID 3687 and 3688."""

P_WAVE = ("10:256", "P wave")
QRS = ("10:1600", "Entire QRS (excluding P, T and U)")
QRS_TO_T = ("10:1536", "Entire Beat (Qon to Toff, excluding P and U)")
"""Extents of waves: CID 3335."""

OWN_SCHEME = "99HUB"
"""Coding scheme of labels that a device made up itself."""


def coded(value: str, scheme: str, meaning: str) -> "list[Dataset]":
    """Return a code sequence of one item."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def lead_source(name: str) -> "list[Dataset]":
    """Return the Channel Source Sequence of a lead (CID 3001); unknown names are "unspecified"."""
    code = _LEAD_CODES.get(name, _UNSPECIFIED_LEAD)
    return coded(f"2:{code}", "MDC", f"Lead {name}" if code else "Unspecified lead")


def unit(name: str) -> "list[Dataset]":
    """Return the units sequence of a unit by UCUM."""
    ucum = _UCUM.get(name, name)
    return coded(ucum, "UCUM", _UNIT_NAMES.get(ucum, ucum))
