"""Counts as rows, for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from ...runtime.records import LayerRecord
from ..text import plain
from .emulator import Counts
from .peers import PeerCounts


@dataclass(frozen=True)
class Row:
    """What a label's statements execute, its layers' shapes, and what peers execute for the same layers."""

    name: str
    counts: Counts
    shapes: list[str] = field(default_factory=list)
    peers: dict[str, Counts] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "shapes": self.shapes, **as_json(self.counts),
                "peers": {name: as_json(counts) for name, counts in self.peers.items()}}


def rows(labelled: Sequence[tuple[str, Counts]], layers: Sequence[LayerRecord],
         peers: Sequence[PeerCounts]) -> list[Row]:
    """
    One row a label, in order of first appearance: several statements may share one, and a layer that is fused
    into another has its row there.

    A peer's layers have names of its own, so they are matched to ours by their dense multiply-adds, in order:
    layers that are mixed up by this have the same shape, or at least the same work.
    """
    ours: dict[str, Counts] = {}
    for label, counts in labelled:
        ours[label] = ours.get(label, Counts()) + counts
    found = {label: Row(label, counts) for label, counts in ours.items()}
    left = {peer.name: list(peer.layers) for peer in peers}
    for layer in layers:
        row = found.get(layer.fused_into or layer.name)
        if row is None:  # computed at compile time
            continue
        row.shapes.append(layer.shape)
        for name, candidates in left.items():
            at = next((i for i, (macs, _) in enumerate(candidates) if macs == layer.macs_dense), None)
            if at is not None:
                row.peers[name] = row.peers.get(name, Counts()) + candidates.pop(at)[1]
    return list(found.values())


def as_json(counts: Counts) -> dict[str, Any]:
    return {**asdict(counts), "instructions_per_fmla": counts.per_fmla}


def counts_table(rows: Sequence[Row], peers: Sequence[PeerCounts]) -> Table:
    """Millions of instructions, FMLAs and bytes by layer, then of whole inferences, the peers' too."""
    total = sum((row.counts for row in rows), Counts())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "shape"):
        table.add_column(title)
    for title in ("instructions M", "FMLA M", "per FMLA", "loads MB", "stores MB",
                  *(f"{peer.name} M" for peer in peers if peer.layers)):
        table.add_column(title, justify="right")
    for row in rows:
        theirs = (row.peers.get(peer.name) for peer in peers if peer.layers)
        table.add_row(plain(row.name), " + ".join(row.shapes), *_cells(row.counts),
                      *("-" if counts is None else _against(counts, row.counts) for counts in theirs))
    table.add_section()
    table.add_row("espalier", "whole inference", *_cells(total), style="bold")
    for peer in peers:
        ratio = peer.total.instructions / total.instructions
        table.add_row(peer.name, f"whole inference, {ratio:.2f}x our instructions", *_cells(peer.total))
    return table


def _cells(counts: Counts) -> list[str]:
    per_fmla = "" if counts.per_fmla is None else f"{counts.per_fmla:.2f}"
    return [_millions(counts.instructions), _millions(counts.fmlas), per_fmla, _millions(counts.load_bytes),
            _millions(counts.store_bytes)]


def _millions(value: int) -> str:
    return f"{value / 1e6:.3f}"


def _against(theirs: Counts, ours: Counts) -> str:
    return f"{_millions(theirs.instructions)} ({theirs.instructions / ours.instructions:.2f}x)"
