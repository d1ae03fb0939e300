"""What stands above the grid of a printed ECG: whose it is, when, with what, and what to know of it."""

from hub.ecg.analysis.model import Measurement
from hub.ecg.waveform import Filters, Waveform
from hub.kit.people import has_han
from hub.web import i18n

_PRINTED = ("hr_bpm", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qrs_axis_deg")
_GAP = "\u3000"


def header_lines(waveform: Waveform, measurement: Measurement | None, language: str) -> tuple[str, ...]:
    """Return the lines above the grid; those with nothing to say are left out."""
    t = i18n.translator(i18n.choose_language(language))
    patient = waveform.patient
    who = (_name(patient.name), patient.local_id, patient.sex, patient.age, patient.birth_date)
    started = waveform.started_at
    when = started.isoformat(" ", timespec="seconds") if started else ""
    lines = [
        _GAP.join(part for part in who if part),
        _GAP.join(part for part in (when, waveform.device, _band(waveform.filters)) if part),
    ]
    values = [] if measurement is None else _values(measurement, t)
    if values:
        lines.append(t("document.ecg.measured", values=_GAP.join(values)))
    if waveform.warnings:
        lines.append(_GAP.join(t(f"ecg.warning.{code}") for code in waveform.warnings))
    return tuple(line for line in lines if line)


def when_cut(language: str) -> str:
    """Return what is said where a wave leaves the paper."""
    return i18n.translator(i18n.choose_language(language))("ecg.cut")


def _values(measurement: Measurement, t: i18n.Translate) -> list[str]:
    found = {name: each.value for name in _PRINTED if (each := measurement.values.get(name)) is not None}
    return [
        t(f"document.ecg.value.{name}", value=round(value))
        for name, value in found.items()
        if value is not None
    ]


def _name(stated: str) -> str:
    """Return a name as people write it: of ``Wang^Fang=王^芳`` the characters."""
    groups = [group for group in stated.split("=") if group.strip("^ ")]
    chosen = next((group for group in groups if has_han(group)), groups[0] if groups else "")
    return chosen.replace("^", "" if has_han(chosen) else " ").strip()


def _band(filters: Filters) -> str:
    low, high, notch = filters.high_pass_hz, filters.low_pass_hz, filters.notch_hz
    band = f"{low or 0:g}–{high:g} Hz" if high else f"≥ {low:g} Hz" if low else ""
    return f"{band} ({notch:g} Hz)" if band and notch else band
