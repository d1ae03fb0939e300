"""``hub ecg convert``: write ECG files in another format."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.ecg.cli.answers import AsJson, answer_each, print_line

if TYPE_CHECKING:
    from hub.ecg.cli.files import Recording
    from hub.ecg.waveform import Waveform

_BY_ENDING = {
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".scp": "scp",
    ".xml": "aecg",
    ".aecg": "aecg",
    ".hea": "wfdb",
    ".edf": "edf",
    ".json": "fhir",
    ".pdf": "pdf",
    ".svg": "svg",
}

_READ_BACK = frozenset({"dicom", "scp", "aecg", "wfdb", "edf"})
"""Targets that are read again to say how much rounding has cost."""

Source = Annotated[Path, typer.Argument(metavar="IN", help="A file, or a folder that is searched through.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="A file; for a folder, a folder.")]
To = Annotated[
    str,
    typer.Option(help="dicom, scp, aecg, wfdb, edf, fhir, pdf or svg; by default what OUT's ending says."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Exact = Annotated[
    bool, typer.Option("--exact", help="Refuse what the target cannot hold exactly instead of rounding it.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the ECG and write that, too, where the target can say it.")
]
Language = Annotated[str, typer.Option(help="Of the words on a printed sheet: zh-CN or en.")]


def convert(  # noqa: PLR0917 - a command takes what its options are
    source: Source,
    target: Target,
    to: To = "",
    force: Force = False,
    exact: Exact = False,
    measure: Measure = False,
    language: Language = "zh-CN",
    as_json: AsJson = False,
) -> None:
    """Write a recording, or all of a folder, in another format; what cannot be written is one line.

    What the target cannot hold exactly is rounded, and the answer says by how much at most.
    """
    chosen = _target_format(source, target, to)
    outputs = _Outputs(source, target, force=force)

    def work(recording: "Recording") -> dict[str, Any]:
        from hub.ecg.errors import CannotHold
        from hub.ecg.read import read_ecg
        from hub.ecg.writers.convert import convert as write

        waveform = read_ecg(recording.files)
        measurement = None
        if measure:
            from hub.ecg.analysis.measure import measure as measure_waveform

            measurement = measure_waveform(waveform)
        name = outputs.name_of(recording.place)
        rounded: dict[str, Any] | None = None
        asked = partial(write, waveform, chosen, name=name, measurement=measurement, language=language)
        try:
            files = asked(exact=True)
        except CannotHold as error:
            if exact:
                raise
            files = asked(exact=False)
            largest = _largest_difference_uv(waveform, read_ecg(files)) if chosen in _READ_BACK else None
            rounded = {"reason": error.facts.get("reason", ""), "largest_uv": largest}
        written = outputs.write(files, recording.place)
        return {
            "format": waveform.format,
            "to": chosen,
            "written": [str(path) for path in written],
            "rounded": rounded,
            "warnings": list(waveform.warnings),
        }

    answer_each([source], work, as_json=as_json, show=_show)


def _largest_difference_uv(given: "Waveform", written: "Waveform") -> float | None:
    """Return by how much a sample of the written file differs at most; None when they do not compare."""
    import numpy as np

    shared = [lead for lead in given.leads if lead in written.leads]
    n = min(given.n_samples, written.n_samples)
    if not shared or given.rate_hz != written.rate_hz:
        return None
    columns = [[each.leads.index(lead) for lead in shared] for each in (given, written)]
    differences = given.samples_mv[:n, columns[0]] - written.samples_mv[:n, columns[1]]
    return round(float(np.nanmax(np.abs(differences), initial=0.0)) * 1000, 3)


def _show(facts: Mapping[str, Any]) -> None:
    rounded = facts["rounded"]
    remark = ""
    if rounded:
        by = "" if rounded["largest_uv"] is None else f", by {rounded['largest_uv']:g} uV at most"
        remark = f" (rounded: {rounded['reason']}{by})"
    print_line(f"{facts['file']} -> {', '.join(facts['written'])}{remark}")


def _target_format(source: Path, target: Path, to: str) -> str:
    """Return the format that is asked for, by name or by the ending of the file to write."""
    known = sorted(set(_BY_ENDING.values()))
    chosen = to or ("" if source.is_dir() or target.is_dir() else _BY_ENDING.get(target.suffix.lower(), ""))
    if chosen not in known:
        raise typer.BadParameter(f"one of {', '.join(known)}", param_hint="--to")
    return chosen


class _Outputs:
    """Where the files go: one recording to the file that was named, those of a folder below another."""

    def __init__(self, source: Path, target: Path, *, force: bool) -> None:
        self._single = not source.is_dir() and not target.is_dir()
        self._target = target
        self._force = force
        self._names: set[PurePath] = set()
        if source.is_dir() and target.is_file():
            raise typer.BadParameter("a folder needs a folder to go to", param_hint="OUT")

    def name_of(self, place: PurePath) -> str:
        """Return a recording's name without ending; its whole file name where another has that one."""
        if self._single:
            return self._target.stem
        name = place.stem if place.with_suffix("") not in self._names else place.name
        self._names.add(place.with_name(name))
        return name

    def write(self, files: Mapping[str, bytes], place: PurePath) -> list[Path]:
        """Write the files of one recording, the one that a reader opens last; return their paths."""
        from hub.ecg.errors import OutputExists

        folder = self._target.parent if self._single else self._target / place.parent
        paths = [folder / name for name in files]
        if self._single and self._target.suffix:
            paths[0] = self._target
        folder.mkdir(parents=True, exist_ok=True)
        if not self._force and any(path.exists() for path in paths):
            raise OutputExists
        for path, data in reversed(list(zip(paths, files.values(), strict=True))):
            _write(path, data, force=self._force)
        return paths


def _write(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file so that it is there whole or not at all."""
    from hub.ecg.errors import OutputExists

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        if not force and _linked(part, path):
            return
        if not force and path.exists():
            raise OutputExists
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _linked(part: Path, path: Path) -> bool:
    """Give a file its name unless it is taken, which a rename cannot; say whether the disk can do that."""
    try:
        path.hardlink_to(part)
    except OSError:
        return False
    return True
