"""``espalier tune MODEL``: searches schedules by measurement, and keeps what is confirmed to be faster."""

from __future__ import annotations

import json as json_
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ...errors import EspalierError
from ...files import DATABASE, check_writable, configuration_folder
from ..bench.machine import Machine
from ..compiled import Source
from ..tune.budget import ROUND_S, Budget, Limits
from .common import (
    DebugOption,
    ExcludeOption,
    OnlyOption,
    PruneOption,
    SeedOption,
    StepsOption,
    TargetOption,
    TrustOption,
    err,
    out,
    progress_bars,
    show,
    write_json,
    write_text,
)
from .compile import CpuOption

if TYPE_CHECKING:
    from ..tune.tuner import Result, Told

DEVICES = {"host": "time", "qemu": "instructions"}  # what can be measured on each
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def tune_command(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="What to tune, as for compile.")] = "",
    prune: PruneOption = None, only: OnlyOption = "", exclude: ExcludeOption = "", seed: SeedOption = 0,
    steps: StepsOption = None,
    device: Annotated[str, typer.Option(
        metavar="DEVICE", help="Where trials run: host, or qemu for a --target.")] = "",
    target: TargetOption = "", mcpu: CpuOption = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    trials: Annotated[int, typer.Option(min=1, help="Schedules to try for each layer.")] = 32,
    limit: Annotated[str, typer.Option(
        "--time", metavar="TIME", help="At most so long, all in all: 90s, 10m, 1h.")] = "10m",
    objective: Annotated[str, typer.Option(
        metavar="OBJECTIVE", help="What is to be least: time, or instructions on an AArch64 --target, "
        "counted under QEMU (default: what the device can measure).")] = "",
    search: Annotated[str, typer.Option(
        metavar="METHOD", help="auto (all where they are few, else ga), ga, tpe, cma, nsga or exhaustive.")
    ] = "auto",
    model_: Annotated[bool | None, typer.Option(
        "--model/--no-model", help="Let a cost model that is learned from the log rank what is tried "
        "(default: where the log is large enough).")] = None,
    database: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Where trials and results are kept (default: tuned.sqlite in the user's "
        "configuration, where compile finds it).")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the search.")] = None,
    export: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write the database's results as JSON, instead of tuning.")] = None,
    import_: Annotated[Path | None, typer.Option(
        "--import", metavar="FILE", help="Take what --export wrote, where it is better.")] = None,
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Search faster schedules for MODEL's layers by measurement; compile uses what was confirmed."""
    begin = time.monotonic()
    path = database or configuration_folder() / DATABASE
    if export is not None or import_ is not None:
        if model or (export is not None and import_ is not None):
            raise EspalierError("give one of MODEL, --export and --import")
        _move(path, export, import_)
        return
    if not model:
        raise EspalierError("give a MODEL to tune, or --export or --import")
    objective = _objective(device, objective, target)
    if html is not None:
        check_writable(html)
    budget = Budget(duration(limit), begin)
    source = Source(model, prune, seed, steps, trust, only, exclude)
    result = _tuned(source, path, threads, Limits(trials, search, seed), budget, model_, html,
                    objective, (target, mcpu))
    _tell(result, source, path, threads)


def _objective(device: str, objective: str, target: str) -> str:
    """What is measured; raises ``EspalierError`` for what cannot be, there."""
    device = device or ("qemu" if target else "host")
    for name, found, known in (("--device", device, DEVICES), ("--objective", objective, DEVICES.values())):
        if found and found not in known:
            raise EspalierError(f"{name} expects one of {', '.join(known)}, found '{found}'")
    wanted = objective or DEVICES[device]
    if wanted != DEVICES[device]:
        raise EspalierError(f"--objective {wanted} cannot be measured on the device {device}, which measures "
                            f"{DEVICES[device]}")
    if (device == "qemu") != target.startswith("aarch64"):
        raise EspalierError("instructions are counted for an AArch64 --target such as aarch64-linux-gnu, on "
                            f"the device qemu; found the target '{target or 'host'}' on {device}")
    return wanted


def duration(text: str) -> float:
    """Seconds that ``90s``, ``10m`` or ``1.5h`` mean; ``EspalierError`` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) <= 0:
        raise EspalierError(f"--time expects a time such as 90s, 10m or 1h, found '{text}'")
    return float(match[1]) * SECONDS[match[2]]


def _tuned(source: Source, path: Path, threads: int, limits: Limits, budget: Budget, wanted: bool | None,
           html: Path | None, objective: str, machine: tuple[str, str]) -> Result:
    from ...pipelines.target import Target
    from ...sparse_dialect.schedule.database import Database, Place
    from ..tune.judge import judge_of
    from ..tune.learned import chosen_model
    from ..tune.network import TunedNetwork
    from ..tune.page import search_page
    from ..tune.tuner import Tuner

    with Database(path) as kept:
        with progress_bars() as progress:
            made_for = Target.cross(*machine) if machine[0] else Target.host()
            network = TunedNetwork.of(source, made_for, progress)
        budget.round_s = network.compile_s + ROUND_S
        judge = judge_of(network, objective, threads)
        place = Place(network.target.machine, threads)
        model, learned = chosen_model(wanted, lambda: kept.log(place.device, objective))
        if model is not None:
            out.print(f"a cost model learned from {len(learned)} trials ranks what is tried", markup=False)
        with _bar() as told:
            tuner = Tuner(network, judge, kept, place, replace(limits, model=model), budget, told)
            result = tuner.run()
        if html is not None:
            trials = kept.trials(place, objective=objective)
            write_text(html, search_page(source.name, trials, [u.key for u in network.units]))
    return result


@contextmanager
def _bar() -> Iterator[Told]:
    """A bar on stderr, if that is a terminal: trials, the best so far, and when it will be over."""
    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} trials"), TextColumn("best {task.fields[best]}"),
               TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task("tuning", total=None, best="1.00")

        def told(done: int, wanted: int, share: float) -> None:
            bars.update(task, completed=done, total=wanted, best=f"{share:.2f} of today's time")

        yield told


def _tell(result: Result, source: Source, path: Path, threads: int) -> None:
    out.print(f"{source.name}{f' --prune {source.prune}' if source.prune else ''}, {threads} "
              f"thread{'s' if threads > 1 else ''}\n{Machine.here()}\n"
              f"{result.trials} trials ({result.failed} failed) in {result.seconds:.0f} s, {result.reused} "
              f"known before", markup=False)
    if result.verdict is not None and result.unit != "s":
        out.print(f"whole network: {result.verdict.tuned / 1e6:.2f} million {result.unit}, the default's "
                  f"{result.verdict.default / 1e6:.2f}", markup=False)
    elif result.verdict is not None:
        tuned, default = 1000 * result.verdict.tuned, 1000 * result.verdict.default
        out.print(f"whole network, interleaved, fastest runs: {tuned:.3f} ms, the default's "
                  f"{default:.3f} ms; median of neighbouring runs "
                  f"{1 / result.verdict.ratio:.3f}x, faster in {result.verdict.won:.0%} of the runs",
                  markup=False)
    if result.unconfirmed:
        out.print(f"there was no time to confirm what {result.unconfirmed} layers gained; the trials are "
                  "kept: run it again", markup=False)
        return
    if not result.chosen:
        out.print("nothing was confirmed to be faster: the default stays", markup=False)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "schedule"):
        table.add_column(title)
    table.add_column("of today's time", justify="right")
    for key, (schedule, ratio) in result.chosen.items():
        table.add_row(key, schedule.text, f"{ratio:.2f}")
    show(table)
    out.print(f"{len(result.chosen)} kept in {path}", markup=False)


def _move(path: Path, export: Path | None, import_: Path | None) -> None:
    """Results out of the database, or into it."""
    from ...sparse_dialect.schedule.database import Database

    if export is not None:
        if not path.is_file():
            raise EspalierError(f"there is no database '{path}'; espalier tune makes one")
        check_writable(export)
        with Database(path) as kept:
            known = kept.exported()
        write_json(export, {"espalier-tuned": 1, "entries": known})
        out.print(f"wrote {len(known)} results to {export}", markup=False)
        return
    if import_ is None:
        return
    try:
        found = json_.loads(import_.read_text())
        entries = found["entries"] if found["espalier-tuned"] == 1 else None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise EspalierError(f"'{import_}' was not written by espalier tune --export ({error})") from error
    if not isinstance(entries, list):
        raise EspalierError(f"'{import_}' is of another version; export it again with this one")
    with Database(path) as kept:
        taken = kept.take(entries)
    out.print(f"took {taken} of {len(entries)} results into {path}; the others are known, and no better",
              markup=False)
