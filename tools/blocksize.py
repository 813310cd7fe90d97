"""GRIM's offline search for a block size: time against block size at one pruning rate, on this machine.

Accuracy wants small blocks, speed large ones. Of the sizes tried, the smallest whose time is within a
tolerance of the largest's (coarse pruning) gives nearly all the speed there is to have (GRIM, TPAMI 2022;
papers.md, section 3.2). The rate is a choice of its own, made by accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import EspalierError
from .bench.engines import EspalierEngine
from .bench.measure import measure
from .compiled import Source
from .pages import page

TEMPLATE = Path(__file__).with_name("blocksize.html")


@dataclass(frozen=True)
class Size:
    """A block of ``rows`` x ``columns`` weights."""

    rows: int
    columns: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """``4x16``; raises ``EspalierError`` for anything else."""
        rows, _, columns = text.partition("x")
        if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
            raise EspalierError(f"block size '{text}': expected rows x columns, such as 4x16")
        return cls(int(rows), int(columns))

    @property
    def weights(self) -> int:
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True)
class Point:
    """One size's time: the whole network's median, or the sum of its layers' predictions."""

    size: Size
    ms: float


@dataclass(frozen=True)
class Curve:
    """Time against block size, small blocks first; ``measured``: by runs, not by the cost model."""

    network: str
    rate: float
    tolerance: float
    measured: bool
    points: tuple[Point, ...]

    @property
    def coarse(self) -> Point:
        """The largest block."""
        return self.points[-1]

    @property
    def recommended(self) -> Point:
        """The smallest block that is at most ``tolerance`` slower than the largest."""
        return next(point for point in self.points if point.ms <= self.coarse.ms * (1 + self.tolerance))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "recommended": asdict(self.recommended.size)}


def search(source: Source, sizes: Sequence[Size], *, rate: float, tolerance: float, runs: int, threads: int,
           progress: Callable[[str, int, int], None]) -> Curve:
    """Prunes and compiles ``source`` with each of ``sizes``, and times them interleaved; ``runs`` 0 predicts
    instead. Raises ``EspalierError`` where there is nothing to prune."""
    ordered = sorted(set(sizes), key=lambda size: (size.weights, size.rows))
    _check_sizes(source, ordered)
    engines, predicted = [], []
    for done, size in enumerate(ordered):
        pruned = replace(source, prune=f"bcr:rows={size.rows},columns={size.columns},rate={rate:g}")
        compiled, inputs = pruned.compile()
        if not any(layer.sparsity for layer in compiled.layers):
            raise EspalierError(f"{source.name}: blocks that keep one weight in {rate:g} cut nothing of it, "
                                "so no size is faster than another")
        predicted.append(sum(layer.predicted_ms or 0.0 for layer in compiled.layers))
        engines.append(EspalierEngine(compiled, inputs, str(size)))
        progress("compiling", done + 1, len(ordered))
    times = predicted
    if runs:
        records = measure(source.name, engines, threads=[threads], warmup=2, runs=runs, progress=progress)
        times = [record.median_ms for record in records]
    points = tuple(Point(size, ms) for size, ms in zip(ordered, times, strict=True))
    return Curve(source.name, rate, tolerance, runs > 0, points)


def _check_sizes(source: Source, sizes: Sequence[Size]) -> None:
    """Raises ``EspalierError`` for blocks larger than a layer that is to be pruned: ``--prune`` would leave
    it as it is, and sizes that prune different layers are no comparison."""
    model, _ = source.load(pruned=False)
    if not hasattr(model, "named_parameters"):
        return  # a file: that it cannot be pruned is said where it would be
    from ..frontends.pruning.project import weight_layers

    for layer in weight_layers(model):
        if not (layer.cuttable or layer.is_matrix):
            continue
        rows = len(layer.array)
        columns = layer.array.size // rows
        for size in sizes:
            if size.rows > rows or size.columns > columns:
                raise EspalierError(f"{source.name}: blocks of {size.rows} x {size.columns} are larger than "
                                    f"the {rows} x {columns} matrix of layer '{layer.name}'; choose smaller "
                                    "--sizes")


def curve_page(curve: Curve) -> str:
    """The curve as one HTML page that needs nothing else."""
    return page(TEMPLATE, curve=curve, largest=max(point.ms for point in curve.points) or 1.0)
