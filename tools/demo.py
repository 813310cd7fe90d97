"""``make demo``: the main job from start to end, on VGG-16 and a picture.

Prunes VGG-16 (seeded weights, so its classes mean nothing), compiles it, runs it on a picture that
``picture.py`` draws, compares the result with PyTorch's, prints the per-layer report, and measures how much
faster it is than PyTorch's dense network, both interleaved. Files go to ``out/``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import EspalierError, optional
from ..files import replacing
from .bench.engines import EspalierEngine, TorchEngine
from .bench.machine import Machine
from .bench.measure import Engine, measure, relative_error
from .bench.show import records_table
from .commands.common import exit_code, out, progress_bars, show, write_text
from .compiled import Source, load_compiled
from .picture import draw, normalised, png
from .report.data import Report
from .report.page import report_page
from .report.table import report_table

TOLERANCE = 1e-4  # of the largest output


def demo(source: Source, folder: Path, runs: int) -> None:
    """Does what the module says, in ``folder``; EspalierError when the outputs differ from PyTorch's."""
    torch = optional("torch", "the demo")
    folder.mkdir(parents=True, exist_ok=True)
    picture = draw()
    with replacing(folder / "picture.png") as file:
        file.write(png(picture))
    x = normalised(picture)
    np.save(folder / "picture.npy", x)
    out.print(f"1. drew {folder / 'picture.png'}")

    model = folder / f"{source.name}.espalier"
    with progress_bars() as progress:
        source.compile(progress=progress)[0].save(model)
    compiled = load_compiled(model)
    out.print(f"2. compiled {source.name} --prune {source.prune} to {model}", markup=False)

    pruned, _ = source.load()
    tensor = torch.from_numpy(x)
    error = relative_error(compiled.run([x]), TorchEngine(pruned, [tensor]).run())
    del pruned
    if not error <= TOLERANCE:
        raise EspalierError(f"the outputs differ from PyTorch's by {error:.1e} of the largest output "
                            f"(allowed: {TOLERANCE:.0e})")
    out.print(f"3. ran it on the picture: equal to PyTorch within {error:.1e} of the largest output")

    profiles = [[1000 * seconds for seconds in compiled.profile([x])] for _ in range(runs)]
    report = Report.measured(source.name, compiled, profiles, machine=str(Machine.here()), threads=1)
    write_text(folder / "report.html", report_page(report))
    out.print(f"4. the report, also in {folder / 'report.html'}")
    show(report_table(report))

    dense, _ = replace(source, prune=None).load()
    engines: list[Engine] = [EspalierEngine(compiled, [x], "sparse"), TorchEngine(dense, [tensor])]
    with progress_bars() as progress:
        records = measure(source.name, engines, threads=[1], warmup=2, runs=runs, progress=progress)
    out.print("5. against PyTorch's dense network, interleaved")
    show(records_table(records, Machine.here().cores))
    ours, theirs = (record.median_ms for record in records)
    out.print(f"{source.name} is {theirs / ours:.1f}x faster than dense PyTorch on one core.", style="bold")


def main() -> int:
    """Reads the arguments; errors are one line."""
    parser = argparse.ArgumentParser(prog="espalier demo", description="The main job on a picture.")
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--prune", default="pattern:entries=4,patterns=8,connectivity=3.6,linear=8")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("out"))
    arguments = parser.parse_args()
    source = Source(arguments.model, arguments.prune)
    return exit_code(lambda: demo(source, arguments.folder, arguments.runs))


if __name__ == "__main__":
    raise SystemExit(main())
