"""Reads linalg.generic as the GPU's nests of loops take it.

    linalg.generic {parallel and reduction loops, affine maps} { arith, math, tensor.extract }  ->  Nest, Body

What has no such form is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import op_error
from ...ir.mlir import ir
from ...ir.values import shape_of
from .assignment import constant_of
from .bodies import Reader, captured_by, constant_number, uses_lanes
from .kernels.nest import Access, Affine, Body, Nest
from .layout import LANES, Plain, Tensor

COVERED = "a layer, a pool, a reshape or part of tensors, or arithmetic of f32 and integers"
MOST_BUFFERS = 8  # of a kernel: what phones have


@dataclass(frozen=True)
class Generic:
    """A nest, its body, and what its kernel reads: arrays, or tensors by their values."""

    nest: Nest
    body: Body
    operands: list[Any]  # arrays or values, one for each buffer that it reads


def read_generic(op: Any, known: Callable[[ir.Value], Tensor], filled: Callable[[ir.Value], float | None],
                 targets: list[Tensor], half: bool, number: Callable[[str], int]) -> Generic:
    """
    The nest of a linalg.generic whose results lie as ``targets``. ``known``: how an operand lies, ``filled``:
    the number that fills a tensor, if one does, ``number``: that of an assertion's text. Raises ``PassError``
    for what no nest can express.
    """
    if not targets:
        raise _unknown(op, "no result")
    maps = [ir.AffineMapAttr(one).value for one in ir.ArrayAttr(op.attributes["indexing_maps"])]
    count = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]
    block = op.regions[0].blocks[0]
    values = list(op.operands)
    outs, arguments = values[count:], list(block.arguments)
    constants = _Constants()

    def tensor(value: ir.Value) -> Tensor:
        array = constant_of(value)
        return known(value) if array is None else constants.add(array)

    used = [at for at in range(count) if any(True for _ in arguments[at].uses)]
    inputs = [Access(tensor(values[at]), _places(op, maps[at])) for at in used]
    operands: list[Any] = [values[at] for at in used]
    starts: list[Access | float | None] = []
    for value, own, argument in zip(outs, maps[count:], arguments[count:], strict=True):
        filling = filled(value)
        if not any(True for _ in argument.uses):
            starts.append(None)
        elif filling is not None:
            starts.append(filling)
        else:
            starts.append(Access(tensor(value), _places(op, own)))
            operands.append(value)
    captured = captured_by(op)
    tensors = tuple(tensor(value) for value in captured)
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    results = [Access(target, _places(op, own)) for target, own in zip(targets, maps[count:], strict=True)]
    _check_results(op, results, kinds)
    nest = Nest(
        _sizes(op, maps, values, len(kinds)),
        tuple(at for at, kind in enumerate(kinds) if "reduction" in kind),
        tuple(inputs),
        tuple(starts),
        tuple(results),
        tensors,
        uses_lanes(op),
        half,
        guarded=_guards(op),
    )
    body = Reader(op, used, captured, number).body
    nest, own = constants.bound(op, nest, [*operands, *captured])
    return Generic(nest, body, own)


def fill_of(op: Any) -> float | None:
    """The number that a linalg.generic without operands fills its result with, if it does."""
    count = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]
    end = list(op.regions[0].blocks[0].operations)[-1].operation
    if count or len(end.operands) != 1 or len(list(op.regions[0].blocks[0].operations)) != 1:
        return None
    return constant_number(end.operands[0])


def repeats_guards(op: Any) -> bool:
    """Whether a linalg.generic gives nothing and only asserts what another, which it was fused into,
    asserts of the same operand."""
    if list(op.results):
        return False
    readers = [use.owner.operation for value in op.operands for use in value.uses]
    return any(reader != op and reader.name == "linalg.generic" and _guards(reader) for reader in readers)


def _guards(op: Any) -> bool:
    return any(view.operation.name == "cf.assert" for view in op.regions[0].blocks[0].operations)


def _unknown(op: Any, found: str) -> Exception:
    return op_error(op, COVERED, found, "there is no GPU kernel for it; compile for a CPU")


def _sizes(op: Any, maps: list[ir.AffineMap], values: list[Any], loops: int) -> tuple[int, ...]:
    """Turns of each loop: the size of the dimension that it is the place in."""
    found: dict[int, int] = {}
    for own, value in zip(maps, values, strict=True):
        if isinstance(value.type, ir.RankedTensorType):
            for expression, size in zip(own.results, shape_of(value), strict=True):
                if isinstance(expression, ir.AffineDimExpr):
                    found[expression.position] = size
    if len(found) != loops:
        raise _unknown(op, "a loop whose length no operand says")
    return tuple(found[at] for at in range(loops))


def _places(op: Any, own: ir.AffineMap) -> tuple[Affine, ...]:
    return tuple(_affine(op, expression) for expression in own.results)


def _affine(op: Any, expression: Any) -> Affine:
    """An expression of loops, numbers, sums and products with a number."""
    if isinstance(expression, ir.AffineDimExpr):
        return Affine(((expression.position, 1),))
    if isinstance(expression, ir.AffineConstantExpr):
        return Affine((), expression.value)
    if isinstance(expression, ir.AffineAddExpr):
        left, right = _affine(op, expression.lhs), _affine(op, expression.rhs)
        return Affine((*left.terms, *right.terms), left.constant + right.constant)
    if isinstance(expression, ir.AffineMulExpr):
        left, right = _affine(op, expression.lhs), _affine(op, expression.rhs)
        number, other = (left.constant, right) if not left.terms else (right.constant, left)
        return Affine(tuple((loop, factor * number) for loop, factor in other.terms), other.constant * number)
    raise _unknown(op, f"a place of {expression}")


def _check_results(op: Any, results: list[Access], kinds: list[str]) -> None:
    """Every place of a result is a loop of its own, or 0; results have one place."""
    for result in results:
        loops = [place.loop for place in result.places if place.terms]
        if None in loops or len(set(loops)) != len(loops) or any(place.constant for place in result.places):
            raise _unknown(op, "a result whose places are no loops")
        if any("parallel" not in kinds[loop] for loop in loops if loop is not None):
            raise _unknown(op, "a result with a place for each turn of a reduction")
    if any(result.places != results[0].places for result in results):
        raise _unknown(op, "results of different shapes")


class _Constants:
    """The constant operands of an op: i32 and f32, one array each where there are too many buffers."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._tensors: list[Tensor] = []

    def add(self, array: np.ndarray) -> Tensor:
        """How a constant lies in a buffer of its own."""
        kept = as_kept(array)
        self._arrays.append(kept)
        element = "i1" if array.dtype == np.bool_ else "f32" if kept.dtype == np.float32 else "i32"
        self._tensors.append(Tensor(Plain(kept.size, element), array.shape))
        return self._tensors[-1]

    def bound(self, op: Any, nest: Nest, operands: list[Any]) -> tuple[Nest, list[Any]]:
        """The nest with the sources of its operands, and what lies behind each of its buffers; few enough
        for a kernel, or ``PassError``."""
        own = _with_sources(nest, operands, self._arrays)
        written = len(nest.results) + nest.guarded
        if len(set(own[0].bindings)) + written > MOST_BUFFERS:
            own = self._together(nest, operands)
        nest, found = own
        kept = [value for at, value in enumerate(found) if nest.bindings[at] == at]
        buffers = len(kept) + written
        if buffers > MOST_BUFFERS:
            raise _unknown(op, f"{buffers} tensors, of which a kernel sees {MOST_BUFFERS}")
        return nest, kept

    def _together(self, nest: Nest, operands: list[Any]) -> tuple[Nest, list[Any]]:
        """With one array for all constants of f32, and one for those of integers."""
        whole: dict[str, list[np.ndarray]] = {}
        moved: list[Tensor] = []
        for array, tensor in zip(self._arrays, self._tensors, strict=True):
            pieces = whole.setdefault(array.dtype.name, [])
            moved.append(Tensor(tensor.layout, tensor.shape, sum(piece.size for piece in pieces)))
            pieces.append(np.pad(array.ravel(), (0, -array.size % LANES)))
        joined = {name: np.concatenate(pieces) for name, pieces in whole.items()}
        self._arrays = [joined[array.dtype.name] for array in self._arrays]
        moved = [replace(tensor, layout=Plain(array.size, _element(tensor)))
                 for array, tensor in zip(self._arrays, moved, strict=True)]
        new = iter(moved)

        def own(value: Any, access: Any) -> Any:
            if constant_of(value) is None:
                return access
            return next(new) if isinstance(access, Tensor) else replace(access, tensor=next(new))

        reads = [own(value, access) for value, access in zip(operands, nest.reads, strict=False)]
        captured = [own(value, tensor) for value, tensor in
                    zip(operands[len(reads) :], nest.captured, strict=True)]
        starts = iter(reads[len(nest.inputs) :])
        nest = replace(nest, inputs=tuple(reads[: len(nest.inputs)]), captured=tuple(captured),
                       starts=tuple(next(starts) if isinstance(start, Access) else start
                                    for start in nest.starts))
        return _with_sources(nest, operands, self._arrays)


def _element(tensor: Tensor) -> str:
    assert isinstance(tensor.layout, Plain)
    return tensor.layout.element


def _with_sources(nest: Nest, operands: list[Any], arrays: list[np.ndarray]) -> tuple[Nest, list[Any]]:
    """The nest with numbers of what its operands lie in, and those: values, or arrays for constants."""
    constants = iter(arrays)
    found = [value if constant_of(value) is None else next(constants) for value in operands]
    sources = []
    for at, value in enumerate(found):
        same = (number for number in range(at) if found[number] is value
                or (not isinstance(value, np.ndarray) and not isinstance(found[number], np.ndarray)
                    and found[number] == value))
        sources.append(next(same, at))
    return replace(nest, sources=tuple(sources)), found


def as_kept(array: np.ndarray) -> np.ndarray:
    """A constant as kernels read it: f32 or i32. ``EspalierError`` where an integer needs more bits."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    limit = np.iinfo(np.int32)
    return np.clip(array.astype(np.int64), limit.min, limit.max).astype(np.int32)


