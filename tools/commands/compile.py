"""``espalier compile MODEL -o FILE``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ...files import check_writable
from ..compiled import Source
from ..report.data import factor, size
from .common import DebugOption, LreOption, ModelArgument, PruneOption, SeedOption, out, progress_bars

OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The compiled model.")]


def compile_command(
    model: ModelArgument, output: OutputOption, prune: PruneOption = None, seed: SeedOption = 0,
    dense: Annotated[bool, typer.Option("--dense", help="Ignore the zeros: our dense kernels.")] = False,
    lre: LreOption = True, debug: DebugOption = False,
) -> None:
    """Compile MODEL for this machine and write one file with code, weights and a recorded run."""
    check_writable(output)
    start = time.perf_counter()
    source = Source(model, prune, seed)
    with progress_bars() as progress:
        compiled, _ = source.compile(sparse=not dense, eliminate_redundant_loads=lre, progress=progress)
        progress("writing", 0, 1)
        compiled.save(output)
    before = sum(layer.bytes_dense for layer in compiled.layers)
    smaller = factor(before, compiled.weight_bytes)
    out.print(f"{output}: {source.name}, {len(compiled.layers)} layers, "
              f"weights {size(before)} -> {size(compiled.weight_bytes)}{f' ({smaller})' if smaller else ''}, "
              f"arena {size(compiled.arena_bytes)}, {time.perf_counter() - start:.1f} s", markup=False)
