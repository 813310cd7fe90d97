"""A row of the table: what came of one network; as CSV, and what all of them say together."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, get_type_hints

from ...files import replacing

EQUAL, WRONG, REFUSED, EXCEPTION, CRASH, HANG, MISSING = (
    "equal", "wrong", "refused", "exception", "crash", "hang", "missing")
FAULTS = (WRONG, REFUSED, EXCEPTION, CRASH, HANG)


@dataclass(frozen=True)
class Row:
    """
    One network. Times are milliseconds of processor of one inference on one thread, medians and minima of
    interleaved runs; ``compile_s`` and ``compile_cpu_s``: seconds by the clock and of the processor;
    ``error``: largest difference from PyTorch over its largest output; ``sums``: the report's rows over a run
    that nobody profiles; ``modules``: convolutions, linear and recurrent ones in PyTorch; ``reference``:
    layers that no kernel covers; ``loops``: the share of time in what is no layer. 0 where it did not come
    so far.
    """

    network: str
    package: str
    outcome: str
    note: str = ""
    dense_ms: float = 0.0
    dense_least: float = 0.0
    pruned_ms: float = 0.0
    pruned_least: float = 0.0
    torch_ms: float = 0.0
    torch_least: float = 0.0
    inductor_ms: float = 0.0
    inductor_least: float = 0.0
    dense_error: float = 0.0
    pruned_error: float = 0.0
    dense_compile_s: float = 0.0
    dense_compile_cpu_s: float = 0.0
    pruned_compile_s: float = 0.0
    pruned_compile_cpu_s: float = 0.0
    inductor_compile_s: float = 0.0
    macs: int = 0
    pruned_macs: int = 0
    dense_sums: float = 0.0
    pruned_sums: float = 0.0
    modules: int = 0
    layers: int = 0
    reference: int = 0
    dense_loops: float = 0.0
    pruned_loops: float = 0.0
    slowest: str = ""

    @property
    def against_torch(self) -> float:
        """How many times as fast as PyTorch eager, dense; by minima, as all ratios here."""
        return _ratio(self.torch_least, self.dense_least)

    @property
    def against_inductor(self) -> float:
        """How many times as fast as ``torch.compile``, dense."""
        return _ratio(self.inductor_least, self.dense_least)

    @property
    def gained(self) -> float:
        """How many times as fast as our dense, pruned."""
        return _ratio(self.dense_least, self.pruned_least)

    @property
    def reduction(self) -> float:
        """Multiply-adds of layers, dense over pruned."""
        return _ratio(self.macs, self.pruned_macs)

    @property
    def sums(self) -> float:
        """The report's rows over the run, of dense and pruned the one further off; 0: neither came."""
        known = [share for share in (self.dense_sums, self.pruned_sums) if share]
        return max(known, key=lambda share: abs(share - 1), default=0.0)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, none where it does not exist; columns that it lacks have their defaults."""
    if not path.exists():
        return []
    kinds = get_type_hints(Row)
    with path.open(newline="") as file:
        return [Row(**{name: kinds[name](text) for name, text in entry.items() if name in kinds and text})
                for entry in csv.DictReader(file)]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, and what the bars of the issue ask for."""
    heads = ("network", "package", "ours", "PyTorch", "torch.compile", "x PyTorch", "x torch.compile",
             "pruned", "x dense", "fewer MACs", "loops", "sums", "compile", "")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", *verdicts(rows)])


def _cells(row: Row) -> list[str]:
    if row.outcome != EQUAL:
        return [row.network, row.package, *[""] * 11, f"{row.outcome}: {row.note[:160]}".replace("|", "/")]
    return [row.network, row.package, f"{row.dense_least:.2f} ms", f"{row.torch_least:.2f} ms",
            f"{row.inductor_least:.2f} ms" if row.inductor_least else "", _times(row.against_torch),
            _times(row.against_inductor), f"{row.pruned_least:.2f} ms" if row.pruned_least else "",
            _times(row.gained), _times(row.reduction), f"{row.dense_loops:.0%}",
            f"{row.sums:.3f}" if row.sums else "", f"{row.dense_compile_cpu_s:.0f} s",
            row.note.replace("|", "/")]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """A line for each bar of the table."""
    ran = [row for row in rows if row.outcome == EQUAL]
    faults = [row.network for row in rows if row.outcome in FAULTS]
    torch = {row.network: row.against_torch for row in ran if row.against_torch}
    inductor = {row.network: row.against_inductor for row in ran if row.against_inductor}
    gained = {row.network: row.gained for row in ran if row.gained}
    kept = {row.network: row.gained / row.reduction for row in ran if row.gained and row.reduction}
    off = {row.network: row.sums for row in ran if row.sums}
    return [f"equal to PyTorch: {len(ran)} of {len(rows)}{_named(faults)}",
            f"dense over PyTorch eager: {_spread(torch)}; slower: {_below(torch, 1.0)}",
            f"dense over torch.compile: {_spread(inductor)}; slower: {_below(inductor, 1.0)}",
            f"pruned over our dense: {_spread(gained)}; slower: {_below(gained, 1.0)}",
            f"share of the reduction in multiply-adds: {_spread(kept)}",
            f"rows' sum over the run: {_spread(off)}; more than 3 % off: "
            f"{_below({name: -abs(share - 1) for name, share in off.items()}, -0.03, off)}",
            f"longest compilation: {max((row.dense_compile_cpu_s for row in ran), default=0):.0f} s of the "
            "processor"]


def _spread(values: dict[str, float]) -> str:
    if not values:
        return "nothing measured"
    return (f"median {median(values.values()):.2f}, {min(values.values()):.2f} to {max(values.values()):.2f} "
            f"({len(values)} networks)")


def _below(values: dict[str, float], bound: float, shown: dict[str, float] | None = None) -> str:
    shown = shown or values
    found = sorted((name for name in values if values[name] < bound), key=lambda name: values[name])
    return f"{len(found)}{_named([f'{name} {shown[name]:.2f}' for name in found])}"


def _named(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _ratio(above: float, below: float) -> float:
    return above / below if above and below else 0.0


def _times(value: Any) -> str:
    return f"{value:.2f}" if value else ""
