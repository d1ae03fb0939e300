"""``hub ecg measure``: what the engine measures on ECG files."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.ecg.cli.answers import AsJson, Paths, answer_each, print_text

if TYPE_CHECKING:
    from hub.ecg.cli.files import Recording

_LONG = ("beats", "qrs_samples", "rr_intervals_ms", "amplitudes_mv", "atrial", "ranges")


def measure(files: Paths, as_json: AsJson = False) -> None:
    """Measure recordings; a file that cannot be read is one line with its error."""
    answer_each(files, _measured, as_json=as_json, show=_show)


def _measured(recording: "Recording") -> dict[str, Any]:
    from hub.ecg.analysis.as_json import measurement_json
    from hub.ecg.analysis.measure import measure as measure_waveform
    from hub.ecg.read import read_ecg

    waveform = read_ecg(recording.files)
    return measurement_json(waveform, measure_waveform(waveform))


def _show(facts: Mapping[str, Any]) -> None:
    print_text({name: value for name, value in facts.items() if name not in _LONG})
