"""``espalier tune MODEL``: searches schedules by measurement, and keeps what is confirmed to be faster."""

from __future__ import annotations

import json as json_
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ...errors import EspalierError, optional
from ...files import DATABASE, check_readable, check_writable, configuration_folder
from ...programs import path_of
from ..bench.machine import Machine
from ..compiled import Source
from ..tune.budget import ROUND_S, Budget, Limits
from ..tune.jobs import DEVICES, Crew, Job
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
    from ..tune.judge import Verdict
    from ..tune.tuner import Result, Told

NEEDED = {"instructions": {"qemu-aarch64"}, "static-cycles": {"qemu-aarch64", "llvm-mca"}}
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def tune_command(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="What to tune, as for compile.")] = "",
    prune: PruneOption = None, only: OnlyOption = "", exclude: ExcludeOption = "", seed: SeedOption = 0,
    steps: StepsOption = None,
    device: Annotated[str, typer.Option(
        metavar="DEVICE", help="Where trials run: host, or for a --target qemu, adb:SERIAL, ssh:HOST or "
        "local, which is this machine; several, joined with commas, share the work.")] = "",
    target: TargetOption = "", mcpu: CpuOption = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    workers: Annotated[int | None, typer.Option(
        min=1, help="Trials at once, where they do not disturb each other: on qemu, or with --ray (default: "
        "one a device, or a machine of the cluster).")] = None,
    ray: Annotated[str, typer.Option(
        metavar="ADDRESS", help="Run trials on a cluster of Ray's; local: one of this machine alone.")] = "",
    trials: Annotated[int, typer.Option(min=1, help="Schedules to try for each layer.")] = 32,
    limit: Annotated[str, typer.Option(
        "--time", metavar="TIME", help="At most so long, all in all: 90s, 10m, 1h.")] = "10m",
    objective: Annotated[str, typer.Option(
        metavar="OBJECTIVE", help="What is to be least: time, or for an AArch64 --target on qemu "
        "instructions or static-cycles (default: what the device can measure).")] = "",
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
    crew, objective = _measured(device, objective, target, workers or 0, ray)
    if html is not None:
        check_writable(html, model, path)
    budget = Budget(duration(limit), begin)
    source = Source(model, prune, seed, steps, trust, only, exclude)
    job = Job(source, target, mcpu, objective, threads)
    result = _tuned(job, crew, path, Limits(trials, search, seed), budget, model_, html)
    _tell(result, job, crew, path)


def _measured(device: str, objective: str, target: str, workers: int, ray: str) -> tuple[Crew, str]:
    """Where and what is measured; raises ``EspalierError`` for what cannot be, there."""
    known = dict.fromkeys(name for names in DEVICES.values() for name in names)
    if objective and objective not in known:
        raise EspalierError(f"--objective expects one of {', '.join(known)}, found '{objective}'")
    devices = tuple((device or ("qemu" if target else "host")).split(","))
    for one in devices:
        objective = _objective(one, objective, target)
    kinds = {one.partition(":")[0] for one in devices}
    if workers > 1 and not ray and kinds != {"qemu"}:
        raise EspalierError(f"--workers {workers} would disturb each other's times on {device or 'host'}; "
                            "several count on qemu, or measure on a cluster (--ray)")
    if workers and len(devices) > 1:
        raise EspalierError("--workers is for one device; several have a worker each")
    if ray:  # what is missing is said before minutes of work
        optional("ray", "tuning on a cluster")
    else:
        for name in sorted(kinds & {"adb"} | NEEDED.get(objective, set())):
            path_of(name)
    return Crew(devices, workers, ray), objective


def _objective(device: str, objective: str, target: str) -> str:
    """What is measured on one device."""
    kind, _, where = device.partition(":")
    if kind not in DEVICES or bool(where) != (kind in ("adb", "ssh")):
        raise EspalierError(f"--device expects one of host, qemu, adb:SERIAL, ssh:HOST, local, found "
                            f"'{device}'")
    objective = objective or DEVICES[kind][0]
    if objective not in DEVICES[kind]:
        raise EspalierError(f"--objective {objective} cannot be measured on the device {device}, which "
                            f"measures {' and '.join(DEVICES[kind])}")
    if kind == "qemu" and not target.startswith("aarch64"):
        raise EspalierError(f"{' and '.join(DEVICES[kind])} are counted for an AArch64 --target such as "
                            f"aarch64-linux-gnu, on the device qemu; found the target '{target or 'host'}'")
    if (kind == "host") == bool(target):
        raise EspalierError(f"the device {device} {'takes no' if target else 'needs a'} --target")
    return objective


def duration(text: str) -> float:
    """Seconds that ``90s``, ``10m`` or ``1.5h`` mean; ``EspalierError`` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) <= 0:
        raise EspalierError(f"--time expects a time such as 90s, 10m or 1h, found '{text}'")
    return float(match[1]) * SECONDS[match[2]]


def _tuned(job: Job, crew: Crew, path: Path, limits: Limits, budget: Budget, wanted: bool | None,
           html: Path | None) -> Result:
    from ...sparse_dialect.schedule.database import Database
    from ..tune.judge import Measure
    from ..tune.learned import chosen_model
    from ..tune.network import TunedNetwork
    from ..tune.page import search_page
    from ..tune.tuner import Tuner
    from ..tune.workers import farm_of

    with Database(path) as kept, ExitStack() as stack:
        with progress_bars() as progress:
            network = TunedNetwork.of(job.source, job.made_for, progress)
        budget.round_s = network.compile_s + ROUND_S
        farm = stack.enter_context(farm_of(network, job, crew))
        place = job.place
        model, learned = chosen_model(wanted, lambda: kept.log(place.device, job.objective))
        if model is not None:
            out.print(f"a cost model learned from {len(learned)} trials ranks what is tried", markup=False)
        with _bar() as told:
            tuner = Tuner(network, farm, Measure(job.objective), kept, place, replace(limits, model=model),
                          budget, told)
            result = tuner.run()
        for reason in farm.lost.values():
            out.print(f"lost: {reason}; the others had its trials", markup=False)
        if html is not None:
            trials = kept.trials(place, objective=job.objective)
            write_text(html, search_page(job.source.name, trials, [u.key for u in network.units]))
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


def _tell(result: Result, job: Job, crew: Crew, path: Path) -> None:
    source, threads = job.source, job.threads
    there = f"on {', '.join(crew.devices)}, for {job.target} {job.cpu}".rstrip()
    where = there if job.target else str(Machine.here())
    out.print(f"{source.name}{f' --prune {source.prune}' if source.prune else ''}, {threads} "
              f"thread{'s' if threads > 1 else ''}\n{where}\n"
              f"{result.trials} trials ({result.failed} failed) in {result.seconds:.0f} s, {result.reused} "
              f"known before", markup=False)
    if result.grids is not None:
        out.print(f"lane grids: {_verdict(result.grids, result.unit)}", markup=False)
    if result.verdict is not None:
        out.print(f"whole network: {_verdict(result.verdict, result.unit)}", markup=False)
    if result.unconfirmed:
        out.print(f"there was no time to confirm what {result.unconfirmed} layers gained; the trials are "
                  "kept: run it again", markup=False)
        return
    if not result.chosen and result.grids is not None:
        out.print(f"the lane grids are kept in {path}", markup=False)
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


def _verdict(verdict: Verdict, unit: str) -> str:
    """How the tuned network compares with the default."""
    if unit != "s":
        return f"{verdict.tuned / 1e6:.2f} million {unit}, the default's {verdict.default / 1e6:.2f}"
    return (f"interleaved, fastest runs: {1000 * verdict.tuned:.3f} ms, the default's "
            f"{1000 * verdict.default:.3f} ms; median of neighbouring runs {1 / verdict.ratio:.3f}x, faster "
            f"in {verdict.won:.0%} of the runs")


def _move(path: Path, export: Path | None, import_: Path | None) -> None:
    """Results out of the database, or into it."""
    from ...sparse_dialect.schedule.database import Database

    if export is not None:
        if not path.is_file():
            raise EspalierError(f"there is no database '{path}'; espalier tune makes one")
        check_writable(export, path)
        with Database(path) as kept:
            known = kept.exported()
        write_json(export, {"espalier-tuned": 1, "entries": known})
        out.print(f"wrote {len(known)} results to {export}", markup=False)
        return
    if import_ is None:
        return
    check_readable(import_)
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
