"""Schemes and layouts between MLIR attributes and Python values.

``sparse_dialect/schemes`` and ``layouts`` know nothing of MLIR; here their frozen values become
``#sparse.pattern<[3, 3], [[0, 1, 3, 4]]>`` and ``#sparse.lanes<[4, 4], [56, 56]>``, and back.
"""

from __future__ import annotations

from ..errors import op_error
from ..geometry.layouts import LaneGrid, Layout, Plain
from ..ir.mlir import ir
from ..ir.values import i64, integer_array, integers
from ..schemes import Bcr, Connectivity, Dense, Kgs, Pattern, Scheme, Unstructured
from ..storage.sell import Slices
from .ops import (
    BcrAttr,
    ConnectivityAttr,
    DenseAttr,
    KgsAttr,
    LanesAttr,
    PatternAttr,
    PlainAttr,
    UndetectedAttr,
    UnstructuredAttr,
)


def scheme_attribute(scheme: Scheme) -> ir.Attribute:
    """The attribute that carries ``scheme`` (needs a current context)."""
    match scheme:
        case Pattern():
            library = ir.ArrayAttr.get([integer_array(places) for places in scheme.library])
            return PatternAttr.get(integer_array(scheme.kernel), library)
        case Kgs():
            return KgsAttr.get(i64(scheme.filters), i64(scheme.channels),
                                       integer_array(scheme.kernel))
        case Bcr():
            return BcrAttr.get(i64(scheme.rows), i64(scheme.columns))
        case Connectivity():
            return ConnectivityAttr.get(integer_array(scheme.kernel))
        case Unstructured():
            return UnstructuredAttr.get()
        case Dense():
            return DenseAttr.get()
    raise TypeError(f"no attribute for scheme {scheme!r}")


def scheme_of(op: ir.Operation) -> Scheme:
    """The scheme of an op; raises ``PassError`` while it is undetected."""
    attribute = op.operation.attributes["scheme"]
    match attribute:
        case PatternAttr():
            library = tuple(tuple(integers(places)) for places in ir.ArrayAttr(attribute.library))
            return Pattern(tuple(integers(attribute.kernel)), library)
        case KgsAttr():
            return Kgs(ir.IntegerAttr(attribute.filters).value,
                               ir.IntegerAttr(attribute.channels).value, tuple(integers(attribute.kernel)))
        case BcrAttr():
            return Bcr(ir.IntegerAttr(attribute.rows).value, ir.IntegerAttr(attribute.columns).value)
        case ConnectivityAttr():
            return Connectivity(tuple(integers(attribute.kernel)))
        case UnstructuredAttr():
            return Unstructured()
        case DenseAttr():
            return Dense()
    found = "#sparse.undetected" if isinstance(attribute, UndetectedAttr) else str(attribute)
    raise op_error(op, "a sparsity scheme", found, "run sparse-detect-schemes first")



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


def layout_attribute(layout: Layout) -> ir.Attribute:
    """``#sparse.plain`` or ``#sparse.lanes<[Lh, Lw], [H, W]>``, ``[D, H, W]`` of a volume (needs a current
    context)."""
    if isinstance(layout, Plain):
        return PlainAttr.get()
    image = layout.image if layout.depth > 1 else layout.image[1:]
    return LanesAttr.get(integer_array((layout.lanes_high, layout.lanes_wide)), integer_array(image))


def layout_of(attribute: ir.Attribute, value: ir.Value) -> Layout:
    """The layout behind ``attribute``; a plain one takes its size from the [N, C, *image] type of
    ``value``."""
    if isinstance(attribute, LanesAttr):
        high, wide = integers(attribute.grid)
        return LaneGrid.of(high, wide, integers(attribute.image))
    return Plain.of(list(ir.RankedTensorType(value.type).shape)[2:])
