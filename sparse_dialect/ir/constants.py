"""Weights between MLIR constants and numpy, never as text.

Large arrays live in the context as ``dense_resource`` blobs that borrow numpy's memory. The bindings cannot
read a blob back, so ``attribute_of`` remembers which array lies behind a context's key; a blob that came
from a parsed file is read through bytecode, whose resource section holds its raw bytes.
"""

from __future__ import annotations

import io
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ..errors import EspalierError, op_error
from .mlir import ir

SMALL = 64  # arrays up to this many elements stay readable in dumps, as dense<...>
ELEMENTS = "f16, f32, f64, i1, i8, i16, i32 or i64"
_NAMES = {"f16": "float16", "f32": "float32", "f64": "float64", "i1": "bool", "index": "int64"}
_INTEGERS = ("i8", "i16", "i32", "i64")
RESOURCE_SECTION = 5  # section id in MLIR's bytecode format


class _Blobs:
    """The arrays behind one context's resources, by key: two contexts may use one key for two arrays."""

    def __init__(self) -> None:
        self.arrays: WeakValueDictionary[str, np.ndarray] = WeakValueDictionary()
        # By name: what a stage in between had in a resource leaves no trace in the names of later ones.
        self.numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


_blobs: WeakKeyDictionary[ir.Context, _Blobs] = WeakKeyDictionary()


def element_type(dtype: np.dtype | type) -> ir.Type:
    """The MLIR element type of a numpy dtype: f16/f32/f64, i1, or a signless integer."""
    dtype = np.dtype(dtype)
    floats = {"float16": ir.F16Type, "float32": ir.F32Type, "float64": ir.F64Type}
    if dtype.name in floats:
        return floats[dtype.name].get()
    return ir.IntegerType.get_signless(1 if dtype == np.bool_ else dtype.itemsize * 8)


def dtype_of(element: ir.Type) -> np.dtype:
    """The numpy dtype of an MLIR element type (signless integers read as signed); ``EspalierError`` for one
    that is none of ``ELEMENTS``."""
    text = str(element)
    if not has_dtype(element):
        raise EspalierError(f"expected elements of {ELEMENTS}, found {text}; cast them")
    return np.dtype(_NAMES.get(text, "int" + text.lstrip("sui")))


def has_dtype(element: ir.Type) -> bool:
    """Whether arrays hold an MLIR element type: bfloat16, quarters and i4 they do not."""
    return str(element) in _NAMES or str(element).lstrip("su") in _INTEGERS


def attribute_of(array: np.ndarray, name: str = "constant", small: int = SMALL) -> ir.Attribute:
    """An elements attribute holding ``array``: readable when ``small``, else a resource that borrows its
    memory."""
    array = np.asarray(array, order="C")  # a scalar stays one
    type_ = ir.RankedTensorType.get(array.shape, element_type(array.dtype))
    if array.size <= small:
        # the bindings read unsigned and narrow integers through their signless type
        if array.dtype.kind in "iu":
            values = [ir.IntegerAttr.get(type_.element_type, int(v)) for v in array.ravel()]
            return ir.DenseElementsAttr.get(values, type=type_) if values else ir.DenseElementsAttr.get(
                array, shape=array.shape, type=type_.element_type)
        return ir.DenseElementsAttr.get(array, shape=array.shape, type=type_.element_type)
    blobs = _blobs.setdefault(type_.context, _Blobs())
    stem = name.replace(".", "_")
    key = f"{stem}_{next(blobs.numbers[stem])}"
    attribute = ir.DenseResourceElementsAttr.get_from_buffer(array, key, type_)
    blobs.arrays[resource_key(attribute)] = array
    return attribute


def constant(array: np.ndarray, name: str = "constant") -> ir.Value:
    """An ``arith.constant`` of ``array`` at the current insertion point."""
    attribute = attribute_of(array, name)
    return ir.Operation.create("arith.constant", results=[attribute.type],
                               attributes={"value": attribute}).result


def resource_key(attribute: ir.Attribute) -> str:
    """The key of a ``dense_resource<key>`` attribute."""
    text = str(attribute)
    return text[text.index("<") + 1 : text.index(">")]


def read_attribute(attribute: ir.Attribute) -> np.ndarray:
    """The array behind an elements attribute (not to be written to)."""
    type_ = ir.RankedTensorType(attribute.type)
    shape, dtype = tuple(type_.shape), dtype_of(type_.element_type)
    if not isinstance(attribute, ir.DenseElementsAttr):
        blobs = _blobs.get(attribute.context)
        known = None if blobs is None else blobs.arrays.get(resource_key(attribute))
        if known is not None:
            return known.reshape(shape)
        return np.frombuffer(_blob(attribute, int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
    if attribute.is_splat:
        return np.full(shape, attribute.get_splat_value().value, dtype)
    return np.array(attribute, dtype=dtype).reshape(shape)


def constant_of(value: ir.Value) -> np.ndarray | None:
    """The array that ``value`` is known to hold, or None when it is not a constant."""
    owner = value.owner
    if not isinstance(owner, ir.Block) and owner.operation.name == "arith.constant":
        return read_attribute(owner.operation.attributes["value"])
    return None


def weight_of(op: Any, value: ir.Value) -> np.ndarray:
    """The constant operand ``value`` of ``op``; raises ``PassError`` when it is computed at run time."""
    array = constant_of(value)
    if array is None:
        raise op_error(op, "a constant weight", "a weight computed at run time",
                       "fold it into a constant first")
    return array


def _blob(attribute: ir.Attribute, size: int) -> bytes:
    """The raw bytes of a resource: the end of the bytecode's resource section of a module that holds it
    alone."""
    with ir.Location.unknown(attribute.context):
        module = ir.Module.create()
    module.operation.attributes["espalier.blob"] = attribute
    stream = io.BytesIO()
    module.operation.write_bytecode(stream)
    data = stream.getvalue()
    position = data.index(b"\0", 5) + 1  # magic, version, producer string
    while position < len(data):
        tag = data[position]
        length, position = _varint(data, position + 1)
        if tag & 0x80:
            alignment, position = _varint(data, position)
            position = -(-position // alignment) * alignment
        if tag & 0x7F == RESOURCE_SECTION:
            return data[position + length - size : position + length]
        position += length
    raise ValueError(f"no resource behind {str(attribute)[:60]}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """MLIR's prefix varint: the count of trailing zero bits of the first byte says how many bytes follow."""
    first = data[position]
    if first == 0:
        return int.from_bytes(data[position + 1 : position + 9], "little"), position + 9
    count = (first & -first).bit_length()
    return int.from_bytes(data[position : position + count], "little") >> count, position + count
