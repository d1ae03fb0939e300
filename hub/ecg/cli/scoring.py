"""``hub ecg score``: how right the engine is on annotated recordings."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="WFDB records with annotations.")]


class HalfName(StrEnum):
    """Which records: by whether the last number in their names is odd."""

    odd = "odd"
    even = "even"
    all = "all"


def score(
    folder: Folder,
    half: Annotated[HalfName, typer.Option(help="Thresholds were chosen on the odd half.")] = HalfName.all,
    injected: Annotated[
        bool, typer.Option(help="Also put faults, swaps and ST levels into every record; takes longer.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure annotated recordings and print the accuracy tables, beside other programs where installed."""
    from hub.ecg.scoring.tables import score as score_folder

    result = score_folder(folder, half.value, injected=injected)
    if not result["records"]:
        raise typer.BadParameter("no annotated WFDB record there", param_hint="FOLDER")
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return
    _print(result, "")


def _print(table: dict[str, Any], indent: str) -> None:
    for name, value in table.items():
        if not isinstance(value, dict):
            typer.echo(f"{indent}{name}: {value}")
        elif "percent" in value:
            low, high = value["ci95"]
            typer.echo(f"{indent}{name}: {value['percent']} % ({low}-{high}), {value['hits']}/{value['n']}")
        else:
            typer.echo(f"{indent}{name}:")
            _print(value, f"{indent}  ")
