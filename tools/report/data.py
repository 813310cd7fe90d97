"""What a report says, apart from how it looks: rows, totals, and the JSON form of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from ...runtime.records import LayerRecord, StatementRecord

if TYPE_CHECKING:
    from ...runtime.compiled_model import CompiledModel
    from ...runtime.model_file import ModelFile


BUSY_SPREAD = 1.5  # a median of this many times the best run: something else ran, too
BUSY_FACTOR = 10.0  # likewise layers at this many times their prediction


@dataclass(frozen=True)
class Row(LayerRecord):
    """One layer: the compiler's record and the measured times, median and least (None in a report without a
    run, and for a layer that is fused into another, whose time is that of both); ``share`` of the whole run.
    """

    measured_ms: float | None = None
    least_ms: float | None = None
    share: float | None = None

    @classmethod
    def of(cls, layer: LayerRecord, measured_ms: float | None, least_ms: float | None = None,
           whole_ms: float | None = None) -> Row:
        if layer.fused_into:
            return cls(**vars(layer))
        share = measured_ms / whole_ms if measured_ms is not None and whole_ms else None
        return cls(**vars(layer), measured_ms=measured_ms, least_ms=least_ms, share=share)


@dataclass(frozen=True)
class OtherRow(StatementRecord):
    """What takes time and is no layer: loops, copies, re-layouts, waiting; times as in ``Row``. ``threads``:
    how many took part."""

    threads: int = 1
    measured_ms: float = 0.0
    least_ms: float = 0.0
    share: float = 0.0


@dataclass(frozen=True)
class Totals:
    """Sums over the layers; a time is None unless every layer has one."""

    macs_dense: int
    macs_packed: int
    bytes_dense: int
    bytes_packed: int
    index_bytes: int
    csr_index_bytes: int
    loads_before: int
    loads_after: int
    predicted_ms: float | None
    measured_ms: float | None
    least_ms: float | None
    share: float | None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Totals:
        def add(name: str) -> Any:
            measured = name in ("measured_ms", "least_ms", "share")
            values = [getattr(row, name) for row in rows if not (measured and row.fused_into)]
            unknown = None in values or (not values and (measured or name == "predicted_ms"))
            return None if unknown else sum(values)

        return cls(**{name: add(name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Report:
    """The report on one network; ``threads`` and ``runs`` say how the times were measured."""

    network: str
    machine: str
    threads: int
    runs: int
    arena_bytes: int
    weight_bytes: int
    rows: tuple[Row, ...]
    others: tuple[OtherRow, ...] = ()
    whole_ms: float | None = None
    least_ms: float | None = None
    dense_ms: float | None = None
    totals: Totals = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", Totals.of(self.rows))

    @classmethod
    def of(cls, network: str, compiled: CompiledModel, measured_ms: Sequence[float] | None, *, machine: str,
           threads: int, runs: int) -> Report:
        """The report on ``compiled``; ``measured_ms`` holds one time a layer, in the order of its layers."""
        times: Sequence[float | None] = [None] * len(compiled.layers) if measured_ms is None else measured_ms
        rows = tuple(Row.of(layer, ms) for layer, ms in zip(compiled.layers, times, strict=True))
        return cls(network, machine, threads, runs, compiled.arena_bytes, compiled.weight_bytes, rows)

    @classmethod
    def measured(cls, network: str, compiled: CompiledModel, runs_ms: Sequence[Sequence[float]], *,
                 machine: str, threads: int, dense_ms: float | None = None) -> Report:
        """The report on ``compiled`` as runs found it: each of ``runs_ms`` holds the times of its layers,
        then of its other statements; ``dense_ms``: a run of the same network on our dense kernels."""
        columns = list(zip(*runs_ms, strict=True))
        medians, least = [median(column) for column in columns], [min(column) for column in columns]
        whole = median(sum(run) for run in runs_ms)
        # medians of parts do not add up to the median of the whole: one factor makes them
        scale = whole / sum(medians) if sum(medians) > 0 else 1.0
        medians = [time * scale for time in medians]
        count = len(compiled.layers)
        rows = tuple(Row.of(layer, ms, best, whole) for layer, ms, best in
                     zip(compiled.layers, medians[:count], least[:count], strict=True))
        others = (OtherRow(**vars(other), threads=threads if other.shared else 1, measured_ms=ms,
                           least_ms=best, share=ms / whole if whole else 0.0) for other, ms, best in
                  zip(compiled.others, medians[count:], least[count:], strict=True))
        ordered = tuple(sorted(others, key=lambda row: -row.measured_ms))
        return cls(network, machine, threads, len(runs_ms), compiled.arena_bytes, compiled.weight_bytes, rows,
                   ordered, whole, min(sum(run) for run in runs_ms), dense_ms)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def predictions(self) -> list[tuple[float | None, float | None]]:
        """Predicted and measured (least) milliseconds of every layer that is measured by itself; what runs
        inside it is predicted with it."""
        inside: dict[str, float] = {}
        for row in self.rows:
            if row.fused_into:
                inside[row.fused_into] = inside.get(row.fused_into, 0.0) + (row.predicted_ms or 0.0)
        return [(None if row.predicted_ms is None else row.predicted_ms + inside.get(row.name, 0.0),
                 row.least_ms) for row in self.rows if not row.fused_into]

    def warning(self) -> str:
        """What speaks against the times; nothing where they look right."""
        late = [row.name for row in self.rows if row.measured_ms is not None and row.predicted_ms
                and row.measured_ms > BUSY_FACTOR * row.predicted_ms and row.measured_ms > 0.1]
        if self.whole_ms and self.least_ms and self.whole_ms > BUSY_SPREAD * self.least_ms:
            return (f"the machine was busy: the median run took {self.whole_ms / self.least_ms:.1f} times "
                    "the fastest; measure again when nothing else runs")
        if 2 * len(late) > len(self.rows):
            return (f"the machine was busy, or is slower than the cost model's: {len(late)} of "
                    f"{len(self.rows)} layers took more than {BUSY_FACTOR:.0f} times their prediction")
        return ""

    def verdict(self) -> str:
        """One sentence: how fast against dense, what limits it, what to do. Nothing without a run."""
        if not self.whole_ms:
            return ""
        parts = [(row.share or 0.0, f"layer {row.name} ({row.op}, {row.scheme})", _advice_on(row))
                 for row in self.rows]
        parts += [(row.share, f"{row.kind} {row.label}", _advice_on_other(row)) for row in self.others]
        share, largest, advice = max(parts, default=(0.0, "nothing", "nothing"))
        return (f"{self._against_dense()}; the largest part is {largest} with {share:.0%} of the time: "
                f"{advice}.")

    def _against_dense(self) -> str:
        if not self.dense_ms or not self.whole_ms:
            return f"A run takes {milliseconds(self.whole_ms)} ms"
        times = self.dense_ms / self.whole_ms
        how = f"{times:.2f} times as fast as" if times >= 1 else f"{1 / times:.2f} times slower than"
        return (f"A run takes {milliseconds(self.whole_ms)} ms, {how} our dense kernels "
                f"({milliseconds(self.dense_ms)} ms)")


def _advice_on(row: Row) -> str:
    """What makes a layer faster."""
    if row.scheme in ("dense", "unstructured"):
        return "prune it by a pattern, by blocks or by whole kernels to make it faster"
    return "more pruning of this layer helps most"


def _advice_on_other(row: OtherRow) -> str:
    """What makes a statement that is no layer faster."""
    if row.kind == "waiting":
        return "fewer threads waste less"
    if row.kind == "re-layout":
        return "operations between layers that keep pixels in place need no re-layout"
    return "pruning does not change it; replace the operation by a cheaper one"


def count(value: float) -> str:
    """A count of things with its unit prefix: ``1.85 G``."""
    for unit, scale in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}" if value < 999.5 * scale else f"{value / scale:.0f}{unit}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """A size in bytes: ``9.4 MiB``."""
    for unit, scale in ((" GiB", 2**30), (" MiB", 2**20), (" KiB", 2**10)):
        if abs(value) >= scale:
            return f"{value / scale:.1f}{unit}"
    return f"{value:.0f} B"


def shared_weights(file: ModelFile) -> str:
    """What the weights of each batch size add to those before: ``; batch 1: 9.4 MiB, 8: +0.1 MiB``."""
    if not file.variants:
        return ""
    totals = [part.weights.nbytes for part in file.parts]
    added = [size(totals[0]), *(f"+{size(after - before)}" for before, after in pairwise(totals))]
    batches = [part.manifest["batch"] for part in file.parts]
    return f"; batch {', '.join(f'{batch}: {bytes_}' for batch, bytes_ in zip(batches, added, strict=True))}"


def milliseconds(value: float | None) -> str:
    """A time, ``-`` where there is none."""
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def factor(before: float, after: float) -> str:
    """How many times less: ``8.1x``, or nothing where it does not apply."""
    return f"{before / after:.1f}x" if before > 0 and after > 0 else ""
