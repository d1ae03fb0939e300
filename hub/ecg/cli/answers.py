"""How the commands on ECG files answer: one recording after another, and a bad file is one line."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.errors import HubError

if TYPE_CHECKING:
    from hub.ecg.cli.files import Recording

Paths = Annotated[list[Path], typer.Argument(help="Files and folders; a WFDB header brings its data files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def answer_each(
    paths: Sequence[Path],
    work: "Callable[[Recording], Mapping[str, Any]]",
    *,
    as_json: bool,
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    """Do something with every recording that files and folders hold, and print what came of it.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        As given on the command line.
    work : callable
        Takes a `hub.ecg.cli.files.Recording` without error and returns JSON-ready facts. A
        `HubError` that it raises becomes the line of this recording, and the rest go on.
    as_json : bool
        Print one JSON object a line, the recording's ``file`` first.
    show : callable
        Prints the same facts for people.

    Raises
    ------
    typer.Exit
        With code 1 when any recording failed.
    """
    from hub.ecg.cli.files import recordings

    failed = False
    for recording in recordings(paths):
        try:
            if recording.error is not None:
                raise recording.error
            facts = {"file": recording.file, **work(recording)}
        except HubError as error:
            failed = True
            print_error(recording.file, error, as_json=as_json)
            continue
        if as_json:
            print_json(facts)
        else:
            show(facts)
    if failed:
        raise typer.Exit(1)


def print_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    print_line(json.dumps(facts, ensure_ascii=False, allow_nan=False))


def print_text(facts: Mapping[str, Any]) -> None:
    """Print facts as ``name: value`` lines."""
    for name, value in facts.items():
        print_line(f"{name}: {value}")


def print_error(file: str, error: HubError, *, as_json: bool) -> None:
    """Say on one line of the error output, and of the JSON output, why a file was refused."""
    facts = ", ".join(f"{name}={value}" for name, value in error.facts.items())
    print_line(f"{error.code}: {error}{f' ({facts})' if facts else ''} [{file}]", err=True)
    if as_json:
        print_json({"file": file, "error": {"code": error.code, "message": str(error), **error.facts}})


def print_line(line: str, *, err: bool = False) -> None:
    """Print a line; bytes of a file name that are no UTF-8 become escapes, in JSON as in text."""
    typer.echo(line.encode(errors="backslashreplace").decode(), err=err)
