"""``hub ecg measure``: what the engine measures on ECG files, their quality, and which rules they meet."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.ecg.cli.answers import AsJson, Paths, answer_each, print_text

if TYPE_CHECKING:
    from hub.ecg.cli.files import Recording

_LONG = ("beats", "qrs_samples", "rr_intervals_ms", "amplitudes_mv", "atrial", "ranges", "quality", "hints")


def measure(files: Paths, as_json: AsJson = False) -> None:
    """Measure recordings; a file that cannot be read is one line with its error."""
    answer_each(files, _measured, as_json=as_json, show=_show)


def _measured(recording: "Recording") -> dict[str, Any]:
    from hub.ecg.analysis.analyse import LONGEST_S, analyse
    from hub.ecg.analysis.as_json import measurement_json
    from hub.ecg.analysis.hints_json import hints_json, quality_json
    from hub.ecg.analysis.measure import measure as measure_waveform
    from hub.ecg.read import read_ecg

    waveform = read_ecg(recording.files)
    analysis = analyse(waveform)
    # Quality and rules look at the first minutes of a long recording; its numbers are of the whole.
    whole = analysis.measurement if waveform.duration_s <= LONGEST_S else measure_waveform(waveform)
    return {
        **measurement_json(waveform, whole),
        "quality": quality_json(analysis.quality),
        "hints": hints_json(analysis.hints),
        "engine": analysis.engine,
    }


def _show(facts: Mapping[str, Any]) -> None:
    print_text({name: value for name, value in facts.items() if name not in _LONG})
    print_text({"quality": facts["quality"]["verdict"], "hints": [each["rule"] for each in facts["hints"]]})
