"""What ``sparse-raise-linalg`` reads out of linalg: elementwise bodies as expression trees, and constants.

A ``linalg.generic`` whose loops are all parallel becomes an ``Elementwise``: one expression tree over its
inputs. The tree is read twice: here with numpy values, which folds small constant subgraphs (torch-mlir
emits batch norm's 1/sqrt(var + eps) as three of them), and in ``raise_epilogue`` with a layer's output
among the inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ...ir.constants import constant_of, read_attribute
from ...ir.mlir import ir
from ...ir.values import shape_of

FOLD_LIMIT = 1 << 20  # elements; larger constant subgraphs stay in the program
NAMED = ("linalg.add", "linalg.sub", "linalg.mul", "linalg.div", "linalg.max", "linalg.min", "linalg.negf",
         "linalg.sqrt", "linalg.rsqrt")
RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape")

Node = tuple[Any, ...]  # ("input", index) | ("number", value) | (operation name, *nodes)
T = TypeVar("T")

_OPERATIONS = {
    "arith.addf": "add", "arith.subf": "sub", "arith.mulf": "mul", "arith.divf": "div", "arith.negf": "neg",
    "arith.maximumf": "max", "arith.maxnumf": "max", "arith.minimumf": "min", "arith.minnumf": "min",
    "math.sqrt": "sqrt", "math.rsqrt": "rsqrt", "math.exp": "exp", "math.tanh": "tanh",
    "arith.truncf": "cast", "arith.extf": "cast", "arith.sitofp": "cast",
}
_PREDICATES = ("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule",
               "une", "uno", "true")  # arith.cmpf's numbering
_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "max": np.maximum, "min": np.minimum, "sqrt": np.sqrt, "rsqrt": lambda a: 1.0 / np.sqrt(a),
    "exp": np.exp, "tanh": np.tanh, "cast": lambda a: a,
    "select": np.where, "one": np.not_equal, "une": np.not_equal,
    "ogt": np.greater, "ugt": np.greater, "oge": np.greater_equal, "uge": np.greater_equal,
    "olt": np.less, "ult": np.less, "ole": np.less_equal, "ule": np.less_equal,
}


def owner(value: ir.Value) -> ir.Operation | None:
    """The operation that computes ``value``; None for a block argument."""
    op = value.owner
    return None if isinstance(op, ir.Block) else op.operation


def is_f32_tensor(value: ir.Value, free_length: bool = False) -> bool:
    """Whether ``value`` is a ranked f32 tensor of static shape; with ``free_length`` the first size may be
    free."""
    if not isinstance(value.type, ir.RankedTensorType):
        return False
    type_ = ir.RankedTensorType(value.type)
    sizes = type_.shape[1:] if free_length else type_.shape
    return isinstance(type_.element_type, ir.F32Type) and ir.ShapedType.get_dynamic_size() not in sizes


def segments(op: ir.Operation) -> tuple[list[ir.Value], list[ir.Value]]:
    """The inputs and the outputs (the initial values) of a linalg structured op."""
    inputs = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]
    operands = list(op.operands)
    return operands[:inputs], operands[inputs:]


def scalar_of(value: ir.Value) -> float | None:
    """The float that a scalar ``arith.constant`` holds, else None."""
    op = owner(value)
    if op is None or op.name != "arith.constant" or not isinstance(op.attributes["value"], ir.FloatAttr):
        return None
    return ir.FloatAttr(op.attributes["value"]).value


def filled_with(value: ir.Value) -> float | None:
    """The number that a float tensor holds everywhere, as a fill or a splat constant says; else None."""
    op = owner(value)
    if op is not None and op.name == "linalg.fill":
        return scalar_of(op.operands[0])
    attribute = op.attributes["value"] if op is not None and op.name == "arith.constant" else None
    if not isinstance(attribute, ir.DenseElementsAttr) or not attribute.is_splat:
        return None
    splat = attribute.get_splat_value()
    return splat.value if isinstance(splat, ir.FloatAttr) else None


@lru_cache(maxsize=4096)
def map_dims(text: str) -> tuple[int | None, ...] | None:
    """The loop that each result of an affine map names, None for a constant 0; None for any other map."""
    results = text[text.index("->") + 2 :].strip(" ()>")
    dims: list[int | None] = []
    for result in filter(None, (r.strip() for r in results.split(","))):
        if not re.fullmatch(r"d\d+|0", result):
            return None
        dims.append(None if result == "0" else int(result[1:]))
    return tuple(dims)


def linear_maps(op: ir.Operation) -> list[list[dict[int, int]] | None]:
    """For every indexing map of a linalg op: its results, each as the factors of the loops that it adds up
    (``d2 * 2 + d5`` is {2: 2, 5: 1}); None for a map with any other result."""
    found = []
    for attribute in ir.ArrayAttr(op.attributes["indexing_maps"]):
        results = [_factors(result) for result in ir.AffineMapAttr(attribute).value.results]
        known = [factors for factors in results if factors is not None]
        found.append(known if len(known) == len(results) else None)
    return found


def _factors(expression: ir.AffineExpr) -> dict[int, int] | None:
    if isinstance(expression, ir.AffineDimExpr):
        return {expression.position: 1}
    if not isinstance(expression, ir.AffineAddExpr | ir.AffineMulExpr):
        return None
    left = _factors(expression.lhs)
    if isinstance(expression, ir.AffineMulExpr):
        number = expression.rhs
        if left is None or not isinstance(number, ir.AffineConstantExpr):
            return None
        return {loop: factor * number.value for loop, factor in left.items()}
    right = _factors(expression.rhs)
    return None if left is None or right is None or left.keys() & right.keys() else {**left, **right}


def reduction_of(op: ir.Operation) -> str | None:
    """The operation that a generic combines its first input and its output with, if it does nothing else."""
    block = op.regions[0].blocks[0]
    body = [view.operation for view in block.operations]
    if len(body) != 2 or list(body[1].operands) != list(body[0].results):
        return None
    ends = {block.arguments[0], block.arguments[len(block.arguments) - 1]}
    return body[0].name if set(body[0].operands) == ends else None


def multiplies_and_adds(op: ir.Operation) -> bool:
    """Whether a generic of two inputs adds their product to its output."""
    block = op.regions[0].blocks[0]
    body = [view.operation for view in block.operations]
    if [inner.name for inner in body] != ["arith.mulf", "arith.addf", "linalg.yield"]:
        return False
    product, total, end = body
    left, right, out = block.arguments
    return (set(product.operands) == {left, right} and set(total.operands) == {product.results[0], out}
            and end.operands[0] == total.results[0])


@dataclass(frozen=True)
class Elementwise:
    """An all-parallel generic with one identity-mapped result: its value and what it asserts, as trees."""

    inputs: tuple[ir.Value, ...]
    maps: tuple[tuple[int | None, ...], ...]
    rank: int
    result: Node
    asserts: tuple[Node, ...]

    def is_identity(self, index: int) -> bool:
        """Whether input ``index`` is read at the place that is written."""
        return self.maps[index] == tuple(range(self.rank))


def generic_maps(op: ir.Operation) -> list[tuple[int | None, ...] | None]:
    """``map_dims`` of every indexing map of a linalg op."""
    return [map_dims(str(a)) for a in ir.ArrayAttr(op.attributes["indexing_maps"])]


def elementwise(op: ir.Operation) -> Elementwise | None:
    """A generic, or a named op by its hidden body, as one expression; None for any other."""
    if len(op.results) != 1 or (op.name != "linalg.generic" and op.name not in NAMED):
        return None
    inputs, _ = segments(op)
    if op.name in NAMED:
        rank = len(shape_of(op.results[0]))
        maps: list[tuple[int | None, ...] | None] = [tuple(range(rank))] * (len(inputs) + 1)
    else:
        maps = generic_maps(op)
        iterators = [str(a) for a in ir.ArrayAttr(op.attributes["iterator_types"])]
        rank = len(iterators)
        if any("parallel" not in i for i in iterators) or maps[-1] != tuple(range(rank)):
            return None
    known = [m for m in maps[:-1] if m is not None]
    if len(known) != len(inputs):
        return None
    body = _body(op.regions[0].blocks[0], len(inputs))
    return None if body is None else Elementwise(tuple(inputs), tuple(known), rank, *body)


def _body(block: ir.Block, inputs: int) -> tuple[Node, tuple[Node, ...]] | None:
    """The yielded tree and the asserted trees of a generic's body."""
    nodes: dict[ir.Value, Node] = {block.arguments[i]: ("input", i) for i in range(inputs)}
    asserts: list[Node] = []
    for view in block.operations:
        op = view.operation
        operands = [n for v in op.operands if (n := _node(v, nodes)) is not None]
        if len(operands) != len(op.operands):
            return None
        if op.name == "linalg.yield":
            return operands[0], tuple(asserts)
        if op.name == "cf.assert":
            asserts.append(operands[0])
        elif op.name == "arith.cmpf":
            predicate = ir.IntegerAttr(op.attributes["predicate"]).value
            nodes[op.results[0]] = (_PREDICATES[predicate], *operands)
        elif op.name == "arith.select":
            nodes[op.results[0]] = _select(*operands)
        elif op.name in _OPERATIONS:
            nodes[op.results[0]] = (_OPERATIONS[op.name], *operands)
        else:
            return None
    return None


def _node(value: ir.Value, nodes: dict[ir.Value, Node]) -> Node | None:
    if value in nodes:
        return nodes[value]
    number = scalar_of(value)
    return None if number is None else ("number", number)


def _select(condition: Node, yes: Node, no: Node) -> Node:
    """``select(a > b, a, b)`` is max, and so on; NaN is not told apart."""
    name, *compared = condition
    if sorted(map(repr, compared)) == sorted(map(repr, (yes, no))) and name[1:] in ("gt", "ge", "lt", "le"):
        takes_larger = (name[1] == "g") == (compared[0] == yes)
        return ("max" if takes_larger else "min", yes, no)
    return ("select", condition, yes, no)


def evaluate_tree(node: Node, leaf: Callable[[int], T], number: Callable[[float], T],
                  apply: Callable[..., T | None]) -> T | None:
    """Folds a tree: ``leaf(i)`` for inputs, ``apply(name, *values)`` inside; None anywhere gives None."""
    name, *rest = node
    if name == "input":
        return leaf(rest[0])
    if name == "number":
        return number(rest[0])
    values = [evaluate_tree(child, leaf, number, apply) for child in rest]
    return None if any(v is None for v in values) else apply(name, *values)


def evaluate(value: ir.Value) -> np.ndarray | None:
    """The f64 array that a small tensor is known to hold, through reshapes and generics; else None."""
    op = owner(value)
    if op is None or not isinstance(value.type, ir.RankedTensorType):
        return None
    shape = tuple(shape_of(value))
    element = str(ir.RankedTensorType(value.type).element_type)
    if min(shape, default=1) < 0 or math.prod(shape) > FOLD_LIMIT:
        return None
    is_integer_constant = element in ("i32", "i64") and op.name == "arith.constant"
    if element not in ("f16", "f32", "f64") and not is_integer_constant:
        return None
    if op.name == "arith.constant":
        return read_attribute(op.attributes["value"]).astype(np.float64)
    if op.name in RESHAPES:
        source = evaluate(op.operands[0])
        return None if source is None else source.reshape(shape)
    if op.name == "linalg.fill":
        number = scalar_of(op.operands[0])
        return None if number is None else np.full(shape, number)
    if op.name == "linalg.broadcast":
        source = evaluate(op.operands[0])
        dims = tuple(ir.DenseI64ArrayAttr(op.attributes["dimensions"]))
        return None if source is None else np.broadcast_to(np.expand_dims(source, dims), shape)
    body = elementwise(op)
    return None if body is None else _evaluate_generic(body, shape)


def _evaluate_generic(body: Elementwise, shape: tuple[int, ...]) -> np.ndarray | None:
    arrays = []
    for value, dims in zip(body.inputs, body.maps, strict=True):
        array = evaluate(value)
        aligned = None if array is None else align(array, dims, body.rank)
        if aligned is None:
            return None
        arrays.append(aligned)

    def compute(node: Node) -> Any:
        return evaluate_tree(node, arrays.__getitem__, np.float64, apply_numpy)

    with np.errstate(all="ignore"):  # a bad value fails the assertion, or the finite check later
        if any(condition is None or not np.all(condition) for condition in map(compute, body.asserts)):
            return None
        result = compute(body.result)
    return None if result is None else np.broadcast_to(result, shape)


def apply_numpy(name: str, *values: Any) -> Any:
    """One operation of a tree on arrays or numbers; None when it has no numpy form."""
    function = _NUMPY.get(name)
    return None if function is None else function(*values)


def align(array: np.ndarray, dims: tuple[int | None, ...], rank: int) -> np.ndarray | None:
    """A view of ``array`` with one axis a loop, of size 1 where the map does not name it; else None."""
    index = tuple(0 if d is None else slice(None) for d in dims)
    named = [d for d in dims if d is not None]
    if len(dims) != array.ndim or len(set(named)) != len(named):
        return None
    view = array[index].transpose(np.argsort(named)) if named else array[index]
    sizes = iter(np.shape(view))
    return np.reshape(view, [next(sizes) if d in named else 1 for d in range(rank)])


@dataclass(frozen=True)
class Weight:
    """A view of a constant of the program: ``array`` is what an op reads, ``original`` the constant."""

    array: np.ndarray
    constant: ir.Value
    original: np.ndarray

    def viewed(self, array: np.ndarray) -> Weight:
        """The same weight, read through another view."""
        return Weight(array, self.constant, self.original)

    @property
    def is_original(self) -> bool:
        """Whether the view is the constant itself, so that the program need not hold the numbers twice."""
        ours, theirs = self.array.__array_interface__, self.original.__array_interface__
        return (self.array.shape, self.array.strides, ours["data"]) == (
            self.original.shape, self.original.strides, theirs["data"])


def weight_of(value: ir.Value) -> Weight | None:
    """The constant behind ``value``, through reshapes and transposes, a view where it can be; else None."""
    op = owner(value)
    if op is None:
        return None
    if op.name in RESHAPES:
        source = weight_of(op.operands[0])
        return None if source is None else source.viewed(source.array.reshape(shape_of(value)))
    if op.name == "linalg.transpose":
        source = weight_of(op.operands[0])
        order = tuple(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
        return None if source is None else source.viewed(source.array.transpose(order))
    array = constant_of(value)
    return None if array is None else Weight(array, value, array)


__all__ = ["RESHAPES", "Elementwise", "Node", "Weight", "align", "apply_numpy", "elementwise", "evaluate",
           "evaluate_tree", "filled_with", "generic_maps", "is_f32_tensor", "linear_maps", "map_dims",
           "multiplies_and_adds", "owner", "reduction_of", "scalar_of", "segments", "weight_of"]
