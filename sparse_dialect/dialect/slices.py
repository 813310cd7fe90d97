"""How the matrix of a packed op lies in slices, as an attribute and back."""

from __future__ import annotations

from ..errors import op_error
from ..ir.mlir import ir
from ..ir.values import i64
from ..storage.sell import Slices


def slices_attribute(slices: Slices) -> ir.DictAttr:
    """How a matrix is packed in slices, ``{rows = 128 : i64, group = 4 : i64, ...}`` (needs a current
    context)."""
    sizes = {name: i64(getattr(slices, name)) for name in ("rows", "group", "lanes", "window")}
    return ir.DictAttr.get({**sizes, "by_lane": ir.BoolAttr.get(slices.by_lane)})


def slices_of(op: ir.Operation) -> Slices:
    """How the matrix of a packed op lies in slices; raises ``PassError`` where it does not say."""
    if "slices" not in op.operation.attributes:
        raise op_error(op, "an attribute 'slices'", "none", "pack it with sparse-compress-weights")
    known = ir.DictAttr(op.operation.attributes["slices"])
    sizes = {name: ir.IntegerAttr(known[name]).value for name in ("rows", "group", "lanes", "window")}
    return Slices(**sizes, by_lane=ir.BoolAttr(known["by_lane"]).value)
