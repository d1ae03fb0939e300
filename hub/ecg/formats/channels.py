"""Which channels of a recording are ECG: formats for any biosignal say so only in labels and units."""

import re

from hub.ecg.leads import lead_from_text

MV_PER_UNIT = {"nV": 1e-6, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "mV": 1.0, "mv": 1.0, "V": 1e3}
"""Units of voltage as files write them. ``MV`` would be a megavolt and is no unit of an ECG."""

_ECG = re.compile(r"^(?:lead|ecg|ekg|ml(?:i|ii|iii)|mcl\d|mod\.? ?\w+|v\d+r?)(?![a-z])", re.IGNORECASE)
_PREFIX = re.compile(r"^e[ck]g[\s:_-]+", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:resp\w*|pleth\w*|ppg|abp|art|nibp|cvp|pap|icp|bp|spo2|sao2|co2|etco2|eeg|eog|emg|erg|meg|mcg"
    r"|seeg|ecog|egg|gsr|eda|temp\w*|pulse|acc\w*|gyro\w*|flow|airflow|nasal|thora\w*|abdo\w*|chest effort"
    r"|snor\w*|sound|light|event|status|marker|trigger|position|body pos\w*|hr|heart rate|battery"
    r"|annotations?)\b",
    re.IGNORECASE,
)


def is_other_signal(label: str) -> bool:
    """Say whether a label names a signal that is no ECG: respiration, pressure, EEG, a marker ..."""
    return _OTHER.search(label.replace("_", " ")) is not None and lead_of_label(label) is None


def is_ecg_label(label: str) -> bool:
    """Say whether a label names an ECG lead or calls itself an ECG."""
    text = label.strip()
    return lead_of_label(text) is not None or (_ECG.match(text) is not None and not is_other_signal(text))


def lead_of_label(label: str) -> str | None:
    """Return the standard lead that a channel label names, or None: ``"ECG I"``, ``"EKG-V2"``."""
    return lead_from_text(_PREFIX.sub("", label.strip(), count=1))
