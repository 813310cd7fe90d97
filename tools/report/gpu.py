"""The report of a model for a GPU: what each thread computes, and what it reads for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from ...runtime.records import GPU_FACTS, LayerRecord
from ..text import plain
from .data import count, size

_TITLES = ("layer", "shape", "scheme", "zeros", "kernel", "a thread", "accumulators", "workgroups",
           "MACs a thread", "elements a MAC", "loads a MAC", "bytes")


def gpu_table(title: str, layers: Sequence[LayerRecord]) -> Table:
    """One row a layer."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for at, name in enumerate(_TITLES):
        table.add_column(name, justify="right" if at == 3 or at >= 6 else "left", no_wrap=at == 0)
    for layer in layers:
        table.add_row(*(plain(cell) for cell in _cells(layer)))
    return table


def _cells(layer: LayerRecord) -> tuple[str, ...]:
    facts = layer.gpu
    read = facts.get("elements_a_multiply_add")
    elements = "-" if read is None else f"{facts['elements_before']:.2f} → {read:.3f}"
    loads = "-" if read is None else f"{facts['loads_a_multiply_add']:.3f}"
    return (layer.name, layer.shape, layer.scheme, f"{layer.sparsity:.1%}", layer.kernel, facts["mapping"],
            str(facts["accumulators"]), f"{facts['workgroups']} x {facts['threads']}",
            count(facts["multiply_adds_a_thread"]), elements, loads, size(facts["bytes"]))


def gpu_json(network: str, target: str, layers: Sequence[LayerRecord]) -> dict[str, Any]:
    """The rows, and what their facts mean."""
    return {"network": network, "target": target, "facts": GPU_FACTS,
            "layers": [asdict(layer) for layer in layers]}
