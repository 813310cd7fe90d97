"""What a report says, apart from how it looks: rows, totals, and the JSON form of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...runtime.records import LayerRecord

if TYPE_CHECKING:
    from ...runtime.compiled_model import CompiledModel


@dataclass(frozen=True)
class Row(LayerRecord):
    """One layer: the compiler's record and the measured time (None in a report without a run, and for a layer
    that is fused into another, whose time is that of both)."""

    measured_ms: float | None = None

    @classmethod
    def of(cls, layer: LayerRecord, measured_ms: float | None) -> Row:
        return cls(**vars(layer), measured_ms=None if layer.fused_into else measured_ms)


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

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Totals:
        def add(name: str) -> Any:
            values = [getattr(row, name) for row in rows if not (name == "measured_ms" and row.fused_into)]
            return None if None in values or (not values and name.endswith("_ms")) else sum(values)

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

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


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


def milliseconds(value: float | None) -> str:
    """A time, ``-`` where there is none."""
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def factor(before: float, after: float) -> str:
    """How many times less: ``8.1x``, or nothing where it does not apply."""
    return f"{before / after:.1f}x" if before > 0 and after > 0 else ""
