"""Shapes, element types and array attributes of IR values, as Python's own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .mlir import ir

_UNKNOWN = 1 << 62  # from here on a number of a type stands for one that only the run knows


def shape_of(value: ir.Value) -> list[int]:
    """The sizes of a tensor or buffer."""
    return list(ir.ShapedType(value.type).shape)


def static_layout(type_: ir.Type) -> tuple[list[int], int] | None:
    """Strides and offset of a buffer's type, in elements; None where only a run knows these or its sizes."""
    shaped = ir.MemRefType(type_)
    strides, offset = shaped.get_strides_and_offset()
    if any(abs(number) >= _UNKNOWN for number in (*shaped.shape, *strides, offset)):
        return None
    return strides, offset


def element_of(type_: ir.Type) -> ir.Type:
    """What a tensor, vector or buffer of ``type_`` holds."""
    return ir.ShapedType(type_).element_type


def integers(attribute: Any) -> list[int]:
    """The values of an array of integer attributes."""
    return [ir.IntegerAttr(a).value for a in ir.ArrayAttr(attribute)]


def strings(attribute: Any) -> list[str]:
    """The values of an array of string attributes."""
    return [ir.StringAttr(a).value for a in ir.ArrayAttr(attribute)]


def i64(value: int) -> ir.IntegerAttr:
    """A 64-bit integer attribute (needs a current context)."""
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def integer_array(values: Sequence[int]) -> ir.ArrayAttr:
    """An array attribute of i64 integers (needs a current context)."""
    return ir.ArrayAttr.get([i64(int(value)) for value in values])


def string_array(values: Sequence[str]) -> ir.ArrayAttr:
    """An array attribute of strings (needs a current context)."""
    return ir.ArrayAttr.get([ir.StringAttr.get(value) for value in values])


def bytecode_of(op: ir.Operation) -> bytes:
    """``op`` as bytecode; equal operations give equal bytes: bytecode keeps the order of each value's uses,
    which depends on hash tables inside upstream's passes, and which a clone sets anew."""
    stream = io.BytesIO()
    op.clone().operation.write_bytecode(stream)
    return stream.getvalue()


def text_of(attributes: Any, name: str) -> str:
    """The string attribute ``name``, or nothing where there is none."""
    return ir.StringAttr(attributes[name]).value if name in attributes else ""
