"""``hub ecg``: read, convert and measure ECG files from the command line.

Every command is a module of its own beside this one, registered here by one line. None of them
imports numpy before it runs: that would cost every other command of the hub a tenth of a second.
"""

import typer

from hub.ecg.cli import converting, measuring, reading, scoring

app = typer.Typer(help="Read, convert and measure ECG files.", no_args_is_help=True)

app.command("read")(reading.read)
app.command("convert")(converting.convert)
app.command("measure")(measuring.measure)
app.command("score")(scoring.score)
