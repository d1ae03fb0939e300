"""``hub ecg``: look at ECG files from the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.ecg.limits import MAX_FILE_BYTES
from hub.errors import HubError

if TYPE_CHECKING:  # numpy would cost every command of the hub half a second
    from hub.ecg.waveform import Waveform

app = typer.Typer(help="Read, measure and draw ECG files.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)]


@app.command()
def read(
    files: Files,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    samples: Annotated[Path | None, typer.Option(help="Also write the samples as .npz.")] = None,
) -> None:
    """Read one recording and say what is in it. A WFDB header brings the data files beside it."""
    import numpy as np

    waveform = _read(files)
    facts = summary(waveform)
    if samples is not None:
        with samples.open("wb") as out:
            np.savez_compressed(
                out, samples_mv=waveform.samples_mv, rate_hz=waveform.rate_hz, leads=np.array(waveform.leads)
            )
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {value}")


@app.command()
def draw(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    target: Annotated[Path, typer.Argument(dir_okay=False, writable=True)],
) -> None:
    """Draw one recording as a true-scale 12-lead sheet (SVG)."""
    from hub.ecg.svg import draw_svg

    target.write_text(draw_svg(_read([source]), footer=source.name), encoding="utf-8")


def summary(waveform: "Waveform") -> dict[str, Any]:
    """Return what a recording is, without its samples, as JSON-ready values."""
    from hub.ecg.measure import measure_heart_rate

    rate = measure_heart_rate(waveform)
    return {
        "format": waveform.format,
        "leads": list(waveform.leads),
        "rate_hz": waveform.rate_hz,
        "n_samples": waveform.n_samples,
        "duration_s": waveform.duration_s,
        "started_at": waveform.started_at.isoformat() if waveform.started_at else None,
        "started_at_source": waveform.started_at_source,
        "lsb_mv": list(waveform.lsb_mv),
        "heart_rate_bpm": None if rate.bpm is None else round(rate.bpm, 1),
        "heart_rate_reason": rate.reason,
        "other_parts": [str(part) for part in waveform.parts],
        "device_statements": list(waveform.device_statements),
        "warnings": list(waveform.warnings),
    }


def gather(paths: list[Path]) -> dict[str, bytes]:
    """Load files, and beside each WFDB header the data files that it names and nobody gave."""
    from hub.ecg.errors import RecordingTooLarge
    from hub.ecg.formats.sniff import is_wfdb_header
    from hub.ecg.formats.wfdb_header import parse_header

    if sum(path.stat().st_size for path in paths) > MAX_FILE_BYTES:
        raise RecordingTooLarge(limit="bytes")
    files = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        if not is_wfdb_header(files[path.name]):
            continue
        for signal in parse_header(files[path.name]).signals:
            name = Path(signal.file_name).name
            beside = path.parent / name
            if name and name not in files and beside.is_file():
                if beside.stat().st_size > MAX_FILE_BYTES:
                    raise RecordingTooLarge(limit="bytes")
                files[name] = beside.read_bytes()
    return files


def _read(paths: list[Path]) -> "Waveform":
    from hub.ecg.read import read_ecg

    try:
        return read_ecg(gather(paths))
    except HubError as error:
        facts = ", ".join(f"{name}={value}" for name, value in error.facts.items())
        typer.echo(f"{error.code}: {error}{f' ({facts})' if facts else ''}", err=True)
        raise typer.Exit(1) from error
