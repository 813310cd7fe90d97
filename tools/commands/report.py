"""``espalier report MODEL``."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from ...files import check_writable
from ..bench.machine import Machine
from ..compiled import Source
from ..report.data import Report
from ..report.page import report_page
from ..report.table import reason_lines, report_table
from .common import (
    DebugOption,
    ExcludeOption,
    LreOption,
    ModelArgument,
    OnlyOption,
    PruneOption,
    SeedOption,
    StepsOption,
    TrustOption,
    out,
    progress_bars,
    show,
    write_json,
    write_text,
)


def report_command(
    model: ModelArgument, prune: PruneOption = None, only: OnlyOption = "",
    exclude: ExcludeOption = "", seed: SeedOption = 0, steps: StepsOption = None,
    dense: Annotated[bool, typer.Option("--dense", help="Report our dense kernels.")] = False,
    lre: LreOption = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    runs: Annotated[int, typer.Option(min=0, help="Profiled runs; 0 leaves times out.")] = 10,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the report as a page.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the report as JSON.")] = None,
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Show what the compiler did with every layer, and how long each takes."""
    for path in (html, json):
        if path is not None:
            check_writable(path)
    source = Source(model, prune, seed, steps, trust, only, exclude)
    times: list[list[float]] = []
    with progress_bars() as progress:
        compiled, inputs = source.compile(sparse=not dense, eliminate_redundant_loads=lre, progress=progress)
        if runs:
            compiled.run(inputs, threads)  # the first run pays for page faults
        for done in range(runs):
            times.append(compiled.profile(inputs, threads))
            progress("measuring", done + 1, runs)
    measured = [1000 * median(layer) for layer in zip(*times, strict=True)] if times else None
    report = Report.of(source.name, compiled, measured, machine=str(Machine.here()), threads=threads,
                       runs=runs)
    show(report_table(report))
    for line in reason_lines(report):
        out.print(line, markup=False)
    if html is not None:
        write_text(html, report_page(report))
        out.print(f"wrote {html}", markup=False)
    if json is not None:
        write_json(json, report.as_json())
        out.print(f"wrote {json}", markup=False)
