"""Operands whose neighbours lie along another loop than the vectors: square tiles, transposed in registers.

    y[i, j] = f(x[j, i]), vectors along j     16 loads x[j + 0 .. 15, i : i + 16], 64 shuffles,
                                         ->   16 stores y[i + 0 .. 15, j : j + 16]

A gather would fetch each number from a line of its own, for one vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.mlir import bindings
from .body import Lanes, Uniform
from .nest import Access, Nest

vector: Any = bindings("dialects.vector")

Value = Any
WIDTH = 32  # bits of the elements that go through the network
LARGEST_BODY = 8  # operations, which are written once for each line of a tile


def tile_loop(nest: Nest, along: int, lanes: int) -> int | None:
    """The loop along which operands lie that are strided along ``along``; None where there is none, or where
    tiles of ``lanes`` by ``lanes`` do not pay."""
    small = nest.is_copy or len(list(nest.body.operations)) <= LARGEST_BODY
    if any(nest.reduces) or not small or nest.sizes[along] < lanes or lanes < 2:
        return None
    if any(access.strides[along] not in (0, 1) for access in nest.outputs):
        return None
    if not nest.is_copy and any(not view.operation.name.startswith(("arith.", "math.", "linalg.yield"))
                                for view in nest.body.operations):
        return None
    found = {at for access in nest.inputs if _is_wide(access) and access.strides[along] > 1
             for at, stride in enumerate(access.strides) if stride == 1 and nest.sizes[at] >= lanes}
    return found.pop() if len(found) == 1 else None


def _is_wide(access: Access) -> bool:
    """Whether the operand's elements are as wide as those that the network takes."""
    return not access.is_scalar and str(access.element) in (f"f{WIDTH}", f"i{WIDTH}")


def transposed(rows: Sequence[Value]) -> list[Value]:
    """``rows``, as many vectors as each has lanes, as columns: blocks off the diagonal change places, of
    one lane, then of two, and so on."""
    lanes, rows = len(rows), list(rows)
    size = 1
    while size < lanes:
        low = [lane if not lane & size else lanes + lane - size for lane in range(lanes)]
        high = [lane + size if not lane & size else lanes + lane for lane in range(lanes)]
        for at in range(lanes):
            if not at & size:
                a, b = rows[at], rows[at + size]
                rows[at] = vector.ShuffleOp(a, b, low).result
                rows[at + size] = vector.ShuffleOp(a, b, high).result
        size *= 2
    return rows


class TileLanes(Lanes):
    """One line of a tile: operands that ``given`` names by number are loaded already."""

    def __init__(self, uniform: Uniform, at: Value, count: int | None, given: Mapping[int, Value]) -> None:
        super().__init__(uniform, at, count)
        self.given = given

    def _operand(self, access: Access, at: int) -> Value:
        return self.given[at] if at in self.given else super()._operand(access, at)


__all__ = ["TileLanes", "tile_loop", "transposed"]
