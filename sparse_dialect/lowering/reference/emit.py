"""Plain linalg on tensors, in f32: what the reference is written in.

A ``generic`` states one loop nest; the maps of its operands are lists of affine expressions in the loops.
Sizes are static but for the first one of a tensor, which a run may decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ...activations import X, activation_of, evaluate
from ...errors import op_error
from ...ir.constants import constant
from ...ir.mlir import bindings, ir
from ...ir.values import element_of, integer_array, shape_of

arith: Any = bindings("dialects.arith")
linalg: Any = bindings("dialects.linalg")
math: Any = bindings("dialects.math")
tensor: Any = bindings("dialects.tensor")

Value = Any
Expression = Any  # an affine expression
Body = Callable[..., Value]  # takes an element of every input, then of the output; gives the new one


def loops(count: int) -> list[Expression]:
    """The loops of a nest, outer ones first."""
    return [ir.AffineExpr.get_dim(at) for at in range(count)]


def generic(output: Value, target: Sequence[Expression], inputs: Sequence[tuple[Value, Sequence[Expression]]],
            count: int, body: Body) -> Value:
    """``output`` after a nest of ``count`` loops; those that its map ``target`` leaves out are reductions."""
    maps = [ir.AffineMap.get(count, 0, list(map_)) for map_ in (*(own for _, own in inputs), target)]
    kinds = ["parallel" if ir.AffineExpr.get_dim(at) in list(target) else "reduction" for at in range(count)]
    iterators = [ir.Attribute.parse(f"#linalg.iterator_type<{kind}>") for kind in kinds]
    values = [value for value, _ in inputs]
    op = linalg.GenericOp([output.type], values, [output],
                          ir.ArrayAttr.get([ir.AffineMapAttr.get(map_) for map_ in maps]),
                          ir.ArrayAttr.get(iterators))
    types = [element_of(value.type) for value in (*values, output)]
    block = op.regions[0].blocks.append(*types, arg_locs=[ir.Location.unknown()] * len(types))
    with ir.InsertionPoint(block):
        linalg.YieldOp([body(*block.arguments)])
    return op.results[0]


def elementwise(values: Sequence[Value], body: Body, element: Any = None) -> Value:
    """A tensor like ``values`` of ``element`` (default: theirs), ``body`` of their elements each."""
    first = values[0]
    every = loops(len(shape_of(first)))
    output = empty_like(first, element or element_of(first.type))
    return generic(output, every, [(value, every) for value in values], len(every),
                   lambda *elements: body(*elements[:-1]))


def updated(value: Value, others: Sequence[Value], body: Body) -> Value:
    """``value``, in its place, with ``body`` of the elements of ``others`` and of its own."""
    every = loops(len(shape_of(value)))
    return generic(value, every, [(other, every) for other in others], len(every), body)


def empty_like(value: Value, element: Any) -> Value:
    """An unset tensor of the sizes of ``value``."""
    return empty(shape_of(value), value, element)


def empty(sizes: Sequence[int], like: Value, element: Any = None) -> Value:
    """An unset tensor of ``sizes``, f32 unless ``element`` says otherwise; a size that the run decides is the
    first of ``like``."""
    known = [size_of(like, 0) if size == ir.ShapedType.get_dynamic_size() else size for size in sizes]
    return tensor.EmptyOp(known, element or ir.F32Type.get()).result


def size_of(value: Value, axis: int) -> Value:
    """A size, as an index value."""
    return tensor.DimOp(value, arith.ConstantOp(ir.IndexType.get(), axis).result).result


def number(value: float) -> Value:
    """An f32 constant."""
    return arith.ConstantOp(ir.F32Type.get(), float(value)).result


def filled(output: Value, value: float) -> Value:
    """``output`` with ``value`` everywhere."""
    every = loops(len(shape_of(output)))
    return generic(output, every, [], len(every), lambda _: number(value))


def with_bias(output: Value, bias: Value | None, axis: int) -> Value:
    """``output`` [...] that starts as ``bias`` along ``axis``, or as zero."""
    every = loops(len(shape_of(output)))
    if bias is None:
        return filled(output, 0)
    return generic(output, every, [(in_f32(bias), [every[axis]])], len(every), lambda value, _: value)


def in_f32(value: Value) -> Value:
    """A tensor of floats in f32."""
    if isinstance(element_of(value.type), ir.F32Type):
        return value
    return elementwise([value], lambda element: arith.ExtFOp(ir.F32Type.get(), element).result,
                       ir.F32Type.get())


def as_type(value: Value, element: Any) -> Value:
    """An f32 tensor in ``element``."""
    if element == element_of(value.type):
        return value
    return elementwise([value], lambda item: arith.TruncFOp(element, item).result, element)


def padded(value: Value, low: Sequence[int], high: Sequence[int], fill: float) -> Value:
    """``value`` [N, C, *image] with ``fill`` around the image; what is negative is cut off instead."""
    sizes = shape_of(value)
    wanted = [0, 0, *low], [0, 0, *high]
    cut = [(max(0, -before), max(0, -after)) for before, after in zip(*wanted, strict=True)]
    kept = [size - sum(ends) for size, ends in zip(sizes, cut, strict=True)]
    if kept != sizes:
        type_ = ir.RankedTensorType.get(kept, ir.F32Type.get())
        value = tensor.ExtractSliceOp(type_, value, [], [], [], [before for before, _ in cut], kept,
                                      [1] * len(kept)).result
    before, after = ([max(0, size) for size in side] for side in wanted)
    if not any(before) and not any(after):
        return value
    grown = [size + a + b for size, a, b in zip(kept, before, after, strict=True)]
    # written as a copy into the middle of a filled tensor: bufferization knows that for every rank
    around = filled(tensor.EmptyOp(grown, ir.F32Type.get()).result, fill)
    return tensor.InsertSliceOp(value, around, [], [], [], before, kept, [1] * len(kept)).result


def regrouped(value: Value, sizes: Sequence[int]) -> Value:
    """``value``, of static sizes, as a tensor of other ``sizes`` with as many elements, row-major."""
    old, element = shape_of(value), element_of(value.type)
    if list(old) == list(sizes):
        return value
    flat = ir.RankedTensorType.get([prod(old)], element)
    if len(old) > 1:
        value = ir.Operation.create("tensor.collapse_shape", results=[flat], operands=[value], attributes={
            "reassociation": ir.ArrayAttr.get([integer_array(range(len(old)))])}).result
    if len(sizes) == 1:
        return value
    return tensor.ExpandShapeOp(ir.RankedTensorType.get(list(sizes), element), value,
                                ir.ArrayAttr.get([integer_array(range(len(sizes)))]), [], list(sizes)).result


def gathered(value: Value, places: np.ndarray, sizes: Sequence[int]) -> Value:
    """[N, C, *sizes] whose element at every place is that of ``value``, [N, C, *image], at the number that
    ``places`` [*sizes] holds, row-major; zero where that is negative."""
    batch, channels = shape_of(value)[:2]
    flat = regrouped(value, [batch, channels, prod(shape_of(value)[2:])])
    table = constant(places.astype(np.int32).reshape(sizes), "places")
    every = loops(2 + len(sizes))

    def body(place: Value, _: Value) -> Value:
        zero = arith.ConstantOp(ir.IntegerType.get_signless(32), 0).result
        outside = arith.CmpIOp(arith.CmpIPredicate.slt, place, zero).result
        inside = arith.SelectOp(outside, zero, place).result
        index = arith.IndexCastOp(ir.IndexType.get(), inside).result
        own = [linalg.IndexOp(at).result for at in range(2)]
        found = tensor.ExtractOp(flat, [*own, index]).result
        return arith.SelectOp(outside, number(0), found).result

    output = tensor.EmptyOp([batch, channels, *sizes], ir.F32Type.get()).result
    return generic(output, every, [(table, every[2:])], len(every), body)


def add(left: Value, right: Value) -> Value:
    """Of two elements."""
    return arith.AddFOp(left, right).result


def multiply_add(left: Value, right: Value, total: Value) -> Value:
    """``total + left * right``, of elements."""
    return arith.AddFOp(total, arith.MulFOp(left, right).result).result


def sigmoid(value: Value) -> Value:
    """``1 / (1 + exp(-value))``, of an element."""
    exponential = math.ExpOp(arith.NegFOp(value).result).result
    return arith.DivFOp(number(1), arith.AddFOp(number(1), exponential).result).result


def activated(layer: Any, value: Value) -> Value:
    """A tensor after the activation of ``layer``."""
    formula = activation_of(layer).formula

    def apply(operation: str, *operands: Value) -> Value:
        if operation not in OPERATIONS:
            raise op_error(layer, f"a formula of {', '.join(OPERATIONS)}", f"'{operation}'")
        return OPERATIONS[operation](*operands)

    return value if formula == X else elementwise([value], lambda x: evaluate(formula, x, number, apply))


OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": add, "sub": lambda x, y: arith.SubFOp(x, y).result, "mul": lambda x, y: arith.MulFOp(x, y).result,
    "div": lambda x, y: arith.DivFOp(x, y).result, "neg": lambda x: arith.NegFOp(x).result,
    "max": lambda x, y: arith.MaximumFOp(x, y).result, "min": lambda x, y: arith.MinimumFOp(x, y).result,
    "exp": lambda x: math.ExpOp(x).result, "tanh": lambda x: math.TanhOp(x).result,
    "sqrt": lambda x: math.SqrtOp(x).result, "sigmoid": sigmoid}
