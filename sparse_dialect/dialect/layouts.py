"""Layout attributes and their way to ``geometry/layouts.py`` and back:
``#sparse.lanes<[4, 4], [56, 56]>``."""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from ..geometry.layouts import LaneGrid, Layout, Plain
from ..ir.mlir import ir
from ..ir.values import integer_array, integers
from .dialect import Sparse


class PlainAttr(Sparse.Attribute, name="plain"):
    """Row-major ``nchw``, no lanes."""


class LanesAttr(Sparse.Attribute, name="lanes"):
    """A lane grid: ``#sparse.lanes<[Lh, Lw], [H, W]>`` (docs/architecture.md, 2); the image of a volume
    is [D, H, W], that of a signal [1, W]."""

    grid: ir.ArrayAttr
    image: ir.ArrayAttr


EITHER = (PlainAttr, LanesAttr)


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
