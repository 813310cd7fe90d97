"""How each tensor of a function lies: which are images, which matrices of layers, and which plain elements.

    a convolution or a pool reads or writes it, or what has its shape    -> rows of pixel vectors, with the
                                                                            margins that its readers want
    a linear or recurrent layer reads or writes it                       -> a matrix by rows
    any other, and all integers                                          -> plain elements
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ...dialect.ops import PoolOp
from ...dialect.packed import PackedConvOp
from ...errors import op_error
from ...ir import constants
from ...ir.mlir import ir
from ...ir.values import element_of, integers, shape_of
from .layout import LANES, Layout, Matrix, Plain, Rows, Tensor

RESHAPES = ("tensor.collapse_shape", "tensor.expand_shape")
_MATRIX_LAYERS = ("sparse.packed_linear", "sparse.packed_gru", "sparse.packed_lstm")
_OF_IMAGES = ("tensor.concat", "tensor.pad", "tensor.extract_slice", "tensor.insert_slice")
_IMAGE_RANKS = (3, 4, 5)
_LIMIT = 1 << 31  # index arithmetic is of 32 bits, signed
_KINDS = {"f32": "f32", "f64": "f32", "i64": "i32", "i32": "i32", "i8": "i32", "i1": "i1"}


class Assignment:
    """The layouts of the tensors of one function."""

    def __init__(self, function: Any) -> None:
        self._images: set[Any] = set()
        for view in function.regions[0].blocks[0].operations:
            for value in _images_of(view):
                self._spread(value)

    def tensor(self, value: ir.Value) -> Tensor:
        """How a tensor lies. Raises ``PassError`` where its sizes are free or too large, or its elements no
        numbers that kernels compute with."""
        return Tensor(self._layout(value), tuple(shape_of(value)))

    def is_image(self, value: ir.Value) -> bool:
        """Whether a tensor is kept as rows of pixels."""
        return value in self._images

    def _layout(self, value: ir.Value) -> Layout:
        owner = value.owner if not isinstance(value.owner, ir.Block) else value.owner.owner
        type_ = value.type
        element = None
        if isinstance(type_, ir.RankedTensorType) and ir.RankedTensorType(type_).has_static_shape:
            element = _KINDS.get(str(element_of(type_)))
        if element is None:
            raise op_error(owner, "tensors of fixed sizes, of f32 or integers", str(type_),
                           "there is no GPU kernel for it; compile for a CPU")
        shape = shape_of(value)
        layout: Layout = Plain(prod(shape), element)
        if element == "f32" and value in self._images:
            layout = rows_of(value)
        elif element == "f32" and len(shape) in (2, 3) and _is_matrix(value):
            layout = Matrix(prod(shape[:-1]), shape[-1])
        if 4 * LANES * layout.vectors >= _LIMIT:
            raise op_error(owner, "tensors below 2 GiB", str(type_), "make the input smaller")
        return layout

    def _spread(self, value: ir.Value) -> None:
        """Marks an image, and what is one because of it."""
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if found in self._images or len(shape_of(found)) not in _IMAGE_RANKS:
                continue
            self._images.add(found)
            around = [use.owner for use in found.uses]
            if not isinstance(found.owner, ir.Block):
                around.append(found.owner)
            for view in around:
                waiting += _alike(view.operation, found)


def _images_of(view: Any) -> Iterator[ir.Value]:
    """Tensors that a layer wants as rows of pixels."""
    if isinstance(view, PackedConvOp):
        yield from (value for value in (view.input, view.output, view.residual) if value is not None)
    elif isinstance(view, PoolOp) and not is_global(view):
        yield from (view.input, view.output)


def is_global(pool: Any) -> bool:
    """Whether a pool's window is the whole image."""
    window = integers(pool.kernel)
    padded = any([*integers(pool.padding_low), *integers(pool.padding_high)])
    return not padded and window == shape_of(pool.input)[-len(window) :]


def _alike(operation: Any, image: ir.Value) -> list[ir.Value]:
    """Operands and results that lie as ``image`` does."""
    others = [*operation.operands, *operation.results]
    if operation.name in _OF_IMAGES:
        rank = len(shape_of(image))
        return [other for other in others if _rank(other) == rank]
    if operation.name != "linalg.generic":
        return []
    maps = [ir.AffineMapAttr(one).value for one in ir.ArrayAttr(operation.attributes["indexing_maps"])]
    own = {str(one) for one, value in zip(maps, operation.operands, strict=True) if value == image}
    if image in list(operation.results):
        own.add(str(maps[-1]))
    shape = shape_of(image)
    same = [value for one, value in zip(maps, operation.operands, strict=True)
            if str(one) in own and _rank(value) == len(shape) and shape_of(value) == shape]
    return [*same, *(value for value in operation.results if shape_of(value) == shape)] if same else []


def _rank(value: ir.Value) -> int:
    return ir.RankedTensorType(value.type).rank if isinstance(value.type, ir.RankedTensorType) else -1


def _is_matrix(value: ir.Value) -> bool:
    """Whether a linear or recurrent layer reads or writes it."""
    around = [use.owner for use in value.uses]
    if not isinstance(value.owner, ir.Block):
        around.append(value.owner)
    return any(view.operation.name in _MATRIX_LAYERS for view in around)


def constant_of(value: ir.Value) -> np.ndarray | None:
    """The array that a tensor is known to hold, reshapes included; None where it is computed."""
    array = constants.constant_of(value)
    owner = value.owner
    if array is None and not isinstance(owner, ir.Block) and owner.operation.name in RESHAPES:
        array = constant_of(owner.operation.operands[0])
    return None if array is None else array.reshape(shape_of(value))


def rows_of(value: ir.Value) -> Rows:
    """The rows of an image, with the margins that its readers want."""
    shape = shape_of(value)
    depth, height, width = [1, 1, *shape[2:]][-3:]
    deep, margin = _margins(value)
    return Rows(shape[0] * shape[1], depth, height, width, margin, deep)


def _margins(value: ir.Value) -> tuple[int, int]:
    """Slices and pixels of zeros that the readers of a tensor want around it."""
    deep = margin = 0
    for use in value.uses:
        reader = use.owner
        if isinstance(reader, PackedConvOp | PoolOp) and reader.input == value:
            if isinstance(reader, PoolOp) and ir.StringAttr(reader.kind).value == "max":
                continue  # places beyond the border are never read
            low, high = three(reader.padding_low, 0), three(reader.padding_high, 0)
            deep, margin = max(deep, low[0], high[0]), max(margin, *low[1:], *high[1:])
        elif reader.operation.name in RESHAPES and len(shape_of(reader.operation.results[0])) > 2:
            own = _margins(reader.operation.results[0])
            deep, margin = max(deep, own[0]), max(margin, own[1])
    return deep, margin


def three(attribute: Any, fill: int) -> tuple[int, int, int]:
    """The values of an attribute of one to three dimensions, as of three."""
    depth, height, width = [fill, fill, *integers(attribute)][-3:]
    return depth, height, width


def is_scalar(operation: Any) -> bool:
    """Whether an operation computes numbers alone."""
    results = list(operation.results)
    return bool(results) and not any(isinstance(one.type, ir.RankedTensorType) for one in results)
