"""Every format that is one file: how it is recognised by content, and what reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from hub.ecg.waveform import Waveform


class Read(Protocol):
    """Read the bytes of one file as calibrated millivolts, or raises a `hub.errors.HubError`."""

    def __call__(self, data: bytes, /, *, charset_override: str | None = None) -> Waveform:
        """Read `data`; `charset_override` is what this device is known to send, whatever it declares."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes
    ----------
    key : str
        What `Waveform.format` says.
    name : str
        What people call it.
    matches : callable
        Whether bytes are of this format, by content alone, in time that does not grow with
        their length; it never raises.
    read : callable
        The reader.
    """

    key: str
    name: str
    matches: Callable[[bytes], bool]
    read: Read


@cache
def formats() -> tuple[Format, ...]:
    """Return the formats in the order in which they are tried; the first that matches reads."""
    from hub.ecg.formats import (
        aecg,
        cardiosoft,
        contec,
        dicom,
        edan,
        edf,
        ishne,
        mfer,
        mindray,
        mortara,
        muse,
        philips,
        schiller,
        scp,
        zoncare,
    )
    from hub.ecg.formats.sniff import is_dicom

    return (
        Format("dicom", "DICOM", is_dicom, dicom.read_dicom),
        Format("scp", "SCP-ECG", scp.matches, scp.read_scp),
        Format("edf", "EDF", edf.matches, edf.read_edf),
        Format("aecg", "HL7 aECG", aecg.matches, aecg.read_aecg),
        Format("philips", "Philips ECG XML", philips.matches, philips.read_philips),
        Format("muse", "GE MUSE XML", muse.matches, muse.read_muse),
        Format("cardiosoft", "GE CardioSoft XML", cardiosoft.matches, cardiosoft.read_cardiosoft),
        Format("mortara", "Mortara ELI XML", mortara.matches, mortara.read_mortara),
        Format("schiller", "Schiller SEMA XML", schiller.matches, schiller.read_schiller),
        Format("zoncare", "Zoncare ZQECG XML", zoncare.matches, zoncare.read_zoncare),
        Format("ishne", "ISHNE Holter", ishne.matches, ishne.read_ishne),
        Format("contec", "Contec ECG90A", contec.matches, contec.read_contec),
        Format("mindray", "Mindray BeneHeart R12", mindray.matches, mindray.read_mindray),
        Format("edan", "Edan Holter", edan.matches, edan.read_edan),
        Format("mfer", "MFER", mfer.matches, mfer.read_mfer),
    )


def format_of(data: bytes) -> Format | None:
    """Return the format of one file, or None when it is none of those read."""
    return next((each for each in formats() if each.matches(data)), None)
