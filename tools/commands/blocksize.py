"""``espalier blocksize MODEL``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.bar import Bar
from rich.table import Table

from ...errors import EspalierError
from ...files import check_apart, check_writable
from ..blocksize import Curve, Size, curve_page, search
from ..compiled import Source
from .common import (
    DebugOption,
    ModelArgument,
    SeedOption,
    StepsOption,
    TrustOption,
    out,
    progress_bars,
    show,
    write_json,
    write_text,
)


def blocksize_command(
    model: ModelArgument, seed: SeedOption = 0, steps: StepsOption = None,
    rate: Annotated[float, typer.Option(min=1, help="One weight in so many stays.")] = 10,
    sizes: Annotated[str, typer.Option(
        metavar="RxC,...", help="Blocks to try, rows x columns.")] = "1x16,2x16,4x16,8x16,16x16,32x16",
    tolerance: Annotated[float, typer.Option(
        min=0, help="How much slower than the largest block the recommended one may be.")] = 0.1,
    runs: Annotated[int, typer.Option(min=0, help="Timed runs; 0 predicts by the cost model.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the curve.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the curve as JSON.")] = None,
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Find the smallest block size that runs nearly as fast as coarse pruning (GRIM's offline search)."""
    check_apart(html, json)
    for path in (html, json):
        if path is not None:
            check_writable(path, model)
    wanted = [Size.parse(text.strip()) for text in sizes.split(",")]
    if len(set(wanted)) < 2:
        raise EspalierError(f"--sizes {sizes}: expected two block sizes or more, to compare")
    with progress_bars() as progress:
        source = Source(model, None, seed, steps, trust)
        curve = search(source, wanted, rate=rate, tolerance=tolerance, runs=runs, threads=threads,
                       progress=progress)
    show(curve_table(curve))
    out.print(f"recommended: bcr:rows={curve.recommended.size.rows},columns="
              f"{curve.recommended.size.columns},rate={rate:g} (the smallest within {tolerance:.0%} of "
              f"{curve.coarse.size})", markup=False)
    if html is not None:
        write_text(html, curve_page(curve))
        out.print(f"wrote {html}", markup=False)
    if json is not None:
        write_json(json, curve.as_json())
        out.print(f"wrote {json}", markup=False)


def curve_table(curve: Curve) -> Table:
    """One row a size, with a bar for its time."""
    how = "measured" if curve.measured else "predicted"
    table = Table(box=box.SIMPLE_HEAD, title=f"{curve.network}, one weight in {curve.rate:g}, {how}",
                  title_justify="left", pad_edge=False)
    table.add_column("block")
    table.add_column("ms", justify="right")
    table.add_column("of coarse", justify="right")
    table.add_column("time")
    largest = max(point.ms for point in curve.points) or 1.0
    for point in curve.points:
        mark = " <-" if point == curve.recommended else ""
        table.add_row(f"{point.size}{mark}", f"{point.ms:.3f}", f"{point.ms / (curve.coarse.ms or 1.0):.2f}x",
                      Bar(largest, 0, point.ms, width=40))
    return table
