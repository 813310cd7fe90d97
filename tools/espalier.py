"""``espalier``: compile, run, bench, report and inspect pruned networks from the command line."""

from __future__ import annotations

import gc
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from ..errors import printable
from .commands.bench import bench_command
from .commands.blocksize import blocksize_command
from .commands.calibrate import calibrate_command
from .commands.common import Guard
from .commands.compile import compile_command
from .commands.devices import devices_command
from .commands.inspect import inspect_command
from .commands.prune import prune_command
from .commands.report import report_command
from .commands.run import run_command
from .commands.sign import sign_command
from .commands.tune import tune_command
from .streams import take_any_text

# torch.export and the passes make millions of objects that stay: Python's default looks through them a
# thousand times.
COLLECT = (20_000, 50, 100)

app = typer.Typer(cls=Guard, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})
app.command("compile")(compile_command)
app.command("run")(run_command)
app.command("bench")(bench_command)
app.command("devices")(devices_command)
app.command("report")(report_command)
app.command("prune")(prune_command)
app.command("inspect")(inspect_command)
app.command("blocksize")(blocksize_command)
app.command("sign")(sign_command)
app.command("tune")(tune_command)
app.command("calibrate")(calibrate_command)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"espalier {version('espalier-compiler')}")
        raise typer.Exit


@app.callback()
def options(
    version_: Annotated[bool, typer.Option(
        "--version", help="Show the version.", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Espalier makes pruned networks as fast as their arithmetic promises."""


def _warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
             line: str | None = None) -> str:
    """What a warning looks like: one line, without the place in our code that gave it."""
    return f"espalier: warning: {printable(' '.join(str(message).split()))}\n"


def main() -> None:
    """The console script. Exit codes: 0; 1 bad input; 2 usage; 130 Ctrl-C."""
    take_any_text()
    warnings.formatwarning = _warning
    gc.set_threshold(*COLLECT)
    try:
        app(prog_name="espalier")
    except KeyboardInterrupt:  # before or after the command itself
        sys.exit(130)


if __name__ == "__main__":  # torchrun -m espalier.tools.espalier
    main()
