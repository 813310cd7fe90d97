"""New ``linalg.generic`` operations, which are parts of another one."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.mlir import ir
from ...ir.values import element_of
from .memory import Value


def generic_op(inputs: Sequence[Value], outs: Sequence[Value], maps: Sequence[ir.AffineMap],
               kinds: ir.ArrayAttr) -> ir.Operation:
    """A ``linalg.generic`` on tensors whose block has its arguments and no operation yet, at the current
    insertion point. ``maps``: of each input, then of each of ``outs``; ``kinds``: of the loops."""
    attributes = {"indexing_maps": ir.ArrayAttr.get([ir.AffineMapAttr.get(map_) for map_ in maps]),
                  "iterator_types": kinds,
                  "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(inputs), len(outs)])}
    made = ir.Operation.create("linalg.generic", [value.type for value in outs], [*inputs, *outs], attributes,
                               regions=1)
    made.regions[0].blocks.append(*[element_of(value.type) for value in (*inputs, *outs)])
    return made


def parallel_loops(count: int) -> ir.ArrayAttr:
    """The kinds of ``count`` loops whose turns may come in any order."""
    return ir.ArrayAttr.get([ir.Attribute.parse("#linalg.iterator_type<parallel>")] * count)


__all__ = ["generic_op", "parallel_loops"]
