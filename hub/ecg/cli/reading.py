"""``hub ecg read``: say what is in ECG files, and take their samples out."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.ecg.cli.answers import AsJson, Paths, answer_each, print_text

if TYPE_CHECKING:
    from hub.ecg.cli.files import Recording
    from hub.ecg.waveform import Waveform

Samples = Annotated[
    Path | None, typer.Option(help="Also write the samples as .npz: a file, or a folder for several.")
]


def read(files: Paths, as_json: AsJson = False, samples: Samples = None) -> None:
    """Read recordings and say what is in them; a file that cannot be read is one line with its error."""
    from hub.ecg.cli.files import several
    from hub.ecg.read import read_ecg

    outputs = None if samples is None else _Outputs(samples, several=several(files))

    def work(recording: "Recording") -> dict[str, Any]:
        waveform = read_ecg(recording.files)
        facts = summary(waveform)
        if outputs is not None:
            facts["samples"] = str(outputs.write(waveform, recording.place))
        return facts

    answer_each(files, work, as_json=as_json, show=_show)


def _show(facts: Mapping[str, Any]) -> None:
    """Print all but the patient, who is shown only to a program that asks for the JSON of this file."""
    print_text({name: value for name, value in facts.items() if name != "patient"})


def summary(waveform: "Waveform") -> dict[str, Any]:
    """Return what a recording is, without its samples, as JSON-ready values."""
    return {
        "format": waveform.format,
        "rate_hz": waveform.rate_hz,
        "leads": list(waveform.leads),
        "n_samples": waveform.n_samples,
        "duration_s": waveform.duration_s,
        "started_at": waveform.started_at.isoformat() if waveform.started_at else None,
        "started_at_source": waveform.started_at_source,
        "patient": asdict(waveform.patient),
        "device": waveform.device,
        "filters": asdict(waveform.filters),
        "lsb_mv": list(waveform.lsb_mv),
        "device_measurements": [asdict(each) for each in waveform.device_measurements],
        "device_statements": list(waveform.device_statements),
        "other_parts": [str(part) for part in waveform.parts],
        "warnings": list(waveform.warnings),
    }


class _Outputs:
    """Where the samples go: one file, or below a folder one for each recording."""

    def __init__(self, target: Path, *, several: bool) -> None:
        self._target = target
        self._folder = several or target.is_dir()
        self._written: set[PurePath] = set()
        if several and (target.is_file() or target.suffix == ".npz"):
            raise typer.BadParameter("several recordings need a folder", param_hint="--samples")

    def write(self, waveform: "Waveform", place: PurePath) -> Path:
        """Write the samples of one recording and return where they are."""
        import numpy as np

        from hub.ecg.errors import NameTwice

        if place in self._written:
            raise NameTwice
        self._written.add(place)
        path = self._target / place.with_name(f"{place.name}.npz") if self._folder else self._target
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            np.savez_compressed(
                out,
                samples_mv=waveform.samples_mv,
                rate_hz=waveform.rate_hz,
                leads=np.array(waveform.leads),
            )
        return path
