"""The formulas of the sparse ops as plain linalg: one function an op, packed or not.

    convolution   pad, sums of products by groups, max pool, residual, activation
    linear        sums of products, activation
    pool          max or mean of windows
    recurrent     scf.for over time steps around a matrix product and the gates
    lift, unlift  a gather by the table of places

Between its ends a layer computes in f32, whatever tensors are held in; weights are what the storage unpacks
to.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...dialect.layouts import layout_of
from ...dialect.packed import Packed
from ...dialect.storages import packed_weight
from ...geometry.layouts import LaneGrid, Layout
from ...ir.constants import constant, constant_of
from ...ir.mlir import bindings, ir
from ...ir.values import element_of, integers, shape_of
from .emit import (
    Value,
    activated,
    add,
    arith,
    as_type,
    elementwise,
    empty,
    filled,
    gathered,
    generic,
    in_f32,
    loops,
    math,
    multiply_add,
    number,
    padded,
    regrouped,
    sigmoid,
    size_of,
    tensor,
    updated,
    with_bias,
)

scf: Any = bindings("dialects.scf")

LOWEST = float("-inf")


def dense_weight(layer: Any) -> Value:
    """The weight of a layer, f32: as its storage unpacks where it is packed; it may be computed at run
    time."""
    if isinstance(layer, Packed):
        return constant(packed_weight(layer).unpack(), "weight")
    known = constant_of(layer.weight)
    return in_f32(layer.weight) if known is None else constant(known.astype(np.float32), "weight")


def convolution(conv: Any) -> list[Value]:
    """``sparse.conv`` and ``sparse.packed_conv``, of any rank and number of groups."""
    weight, groups = dense_weight(conv), ir.IntegerAttr(conv.groups).value
    low, high, strides, dilations = (integers(a) for a in (conv.padding_low, conv.padding_high, conv.strides,
                                                           conv.dilations))
    image = padded(plain(conv, conv.input, "input_layout", len(strides)), low, high, 0)
    batch, channels, *sizes = shape_of(image)
    filters, _, *kernel = shape_of(weight)
    result = [(size - dilation * (taps - 1) - 1) // stride + 1
              for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)]
    split = regrouped(image, [batch, groups, channels // groups, *sizes])
    shares = regrouped(weight, [groups, filters // groups, *shape_of(weight)[1:]])

    sums = with_bias(empty([batch, filters, *result], image), conv.bias, 1)
    sums = regrouped(sums, [batch, groups, filters // groups, *result])
    every = loops(4 + 2 * len(kernel))
    n, group, f, c = every[:4]
    places, taps = every[4 : 4 + len(kernel)], every[4 + len(kernel) :]
    read = [place * stride + tap * dilation
            for place, tap, stride, dilation in zip(places, taps, strides, dilations, strict=True)]
    factors = [(split, [n, group, c, *read]), (shares, [group, f, c, *taps])]
    sums = generic(sums, [n, group, f, *places], factors, len(every), multiply_add)
    value = regrouped(sums, [batch, filters, *result])

    pool = integers(conv.pool) if isinstance(conv, Packed) else [1] * len(kernel)
    if conv.residual is None:  # a max pool takes what the activation made of the sums
        value = activated(conv, value)
    if prod(pool) > 1:
        value = windows(value, "max", pool, pool)
    if conv.residual is not None:
        residual = plain(conv, conv.residual, "output_layout", len(strides), shape_of(value)[2:])
        value = activated(conv, elementwise([value, residual], add))
    return [laid_out(conv, value)]


def linear(layer: Any) -> list[Value]:
    """``sparse.linear`` and ``sparse.packed_linear``, of any number of rows."""
    weight = dense_weight(layer)
    inputs = in_f32(layer.input)
    sums = with_bias(empty(shape_of(layer.output), layer.input), layer.bias, 1)
    value = product(sums, inputs, weight)
    return [as_type(activated(layer, value), element_of(layer.output.type))]


def product(sums: Value, rows: Value, weight: Value) -> Value:
    """``sums`` [N, M] + ``rows`` [N, K] @ ``weight`` [M, K].T."""
    n, m, k = loops(3)
    return generic(sums, [n, m], [(rows, [n, k]), (weight, [m, k])], 3, multiply_add)


def pool(layer: Any) -> list[Value]:
    """``sparse.pool``: a max pads with the lowest number; a mean counts what was padded, as zeros."""
    kind = ir.StringAttr(layer.kind).value
    low, high, kernel, strides = (integers(a) for a in (layer.padding_low, layer.padding_high, layer.kernel,
                                                        layer.strides))
    image = plain(layer, layer.input, "input_layout", len(kernel))
    image = padded(image, low, high, LOWEST if kind == "max" else 0)
    return [laid_out(layer, windows(image, kind, kernel, strides))]


def windows(image: Value, kind: str, kernel: Sequence[int], strides: Sequence[int]) -> Value:
    """The max or the mean of every window of ``image`` [N, C, *sizes]."""
    batch, channels, *sizes = shape_of(image)
    result = [(size - taps) // stride + 1 for size, taps, stride in zip(sizes, kernel, strides, strict=True)]
    every = loops(2 + 2 * len(kernel))
    places, taps = every[2 : 2 + len(kernel)], every[2 + len(kernel) :]
    read = [place * stride + tap for place, tap, stride in zip(places, taps, strides, strict=True)]
    start = filled(empty([batch, channels, *result], image), LOWEST if kind == "max" else 0)
    window = empty(kernel, image)  # says how far its loops run
    share = 1 / prod(kernel)

    def body(element: Value, _: Value, total: Value) -> Value:
        if kind == "max":
            return arith.MaximumFOp(total, element).result
        return multiply_add(element, number(share), total)

    inputs = [(image, [*every[:2], *read]), (window, taps)]
    return generic(start, [*every[:2], *places], inputs, len(every), body)


def recurrent(layer: Any, lstm: bool) -> list[Value]:
    """``sparse.gru`` and ``sparse.lstm``: the state of every step; of an LSTM the last cell as well."""
    weight = dense_weight(layer)
    gates, start = in_f32(layer.gates), [in_f32(layer.initial)]
    if lstm:
        start.append(in_f32(layer.cell))
    index = ir.IndexType.get()
    zero, one = (arith.ConstantOp(index, value).result for value in (0, 1))
    steps = size_of(gates, 0)
    outputs = empty(shape_of(layer.output), layer.gates)
    loop = scf.ForOp(zero, steps, one, [outputs, *start])
    with ir.InsertionPoint(loop.body):
        whole, *states = loop.inner_iter_args
        time = loop.induction_variable
        if ir.StringAttr(layer.direction).value == "reverse":
            time = arith.SubIOp(arith.SubIOp(steps, one).result, time).result
        now = _step_of(gates, time)
        batch, width = shape_of(now)
        sums = product(with_bias(empty([batch, width], now), layer.bias, 1), states[0], weight)
        states = _lstm(now, sums, *states) if lstm else _gru(now, sums, *states)
        hidden = shape_of(states[0])[1]
        whole = tensor.InsertSliceOp(states[0], whole, [time], [], [], [_dynamic(), 0, 0], [1, batch, hidden],
                                     [1, 1, 1]).result
        scf.YieldOp([whole, *states])
    whole, *states = loop.results
    found = [as_type(whole, element_of(layer.output.type))]
    return [*found, as_type(states[1], element_of(layer.final_cell.type))] if lstm else found


def _gru(gates: Value, sums: Value, state: Value) -> list[Value]:
    """r, z = sigmoid of both; n = tanh(gates_n + r * sums_n); h' = (1 - z) * n + z * h."""
    (reset, update, new), (reset_sum, update_sum, new_sum) = _parts(gates, 3), _parts(sums, 3)

    def body(r: Value, z: Value, n: Value, r_sum: Value, z_sum: Value, n_sum: Value, h: Value) -> Value:
        kept = sigmoid(add(z, z_sum))
        fresh = math.TanhOp(multiply_add(sigmoid(add(r, r_sum)), n_sum, n)).result
        return multiply_add(kept, h, arith.MulFOp(arith.SubFOp(number(1), kept).result, fresh).result)

    return [updated(state, [reset, update, new, reset_sum, update_sum, new_sum], body)]


def _lstm(gates: Value, sums: Value, state: Value, cell: Value) -> list[Value]:
    """c' = sigmoid(f) * c + sigmoid(i) * tanh(g); h' = sigmoid(o) * tanh(c')."""
    total = elementwise([gates, sums], add)
    taken, kept, fresh, shown = _parts(total, 4)
    new = updated(cell, [taken, kept, fresh], lambda i, f, g, c: multiply_add(
        sigmoid(f), c, arith.MulFOp(sigmoid(i), math.TanhOp(g).result).result))
    out = updated(state, [shown, new],
                  lambda o, c, _: arith.MulFOp(sigmoid(o), math.TanhOp(c).result).result)
    return [out, new]


def _parts(value: Value, count: int) -> list[Value]:
    """[N, count * H] as ``count`` tensors [N, H]."""
    batch, width = shape_of(value)
    part = ir.RankedTensorType.get([batch, width // count], ir.F32Type.get())
    return [tensor.ExtractSliceOp(part, value, [], [], [], [0, at * width // count], [batch, width // count],
                                  [1, 1]).result for at in range(count)]


def _step_of(value: Value, time: Value) -> Value:
    """The [N, W] of one step of ``value`` [T, N, W]."""
    _, batch, width = shape_of(value)
    type_ = ir.RankedTensorType.get([batch, width], ir.F32Type.get())
    return tensor.ExtractSliceOp(type_, value, [time], [], [], [_dynamic(), 0, 0], [1, batch, width],
                                 [1, 1, 1]).result


def _dynamic() -> int:
    size: int = ir.ShapedType.get_dynamic_size()
    return size


# -- layouts -------------------------------------------------------------------------------------------------


def lift(layer: Any) -> list[Value]:
    """``sparse.lift``: [N, C, *image] to [N, C, lines, lanes], zeros where a lane holds no pixel."""
    grid = _grid(layer)
    return [as_type(_lifted(in_f32(layer.input), grid), element_of(layer.output.type))]


def unlift(layer: Any) -> list[Value]:
    """``sparse.unlift``: [N, C, lines, lanes] to [N, C, *image]."""
    value = _unlifted(in_f32(layer.input), _grid(layer), shape_of(layer.output)[2:])
    return [as_type(value, element_of(layer.output.type))]


def plain(layer: Any, value: Value, name: str, rank: int, sizes: Sequence[int] = ()) -> Value:
    """``value`` in f32 as [N, C, *image] of ``rank`` sizes, whatever the layout that attribute ``name`` of
    ``layer`` says (row-major where there is none); ``sizes``: its image, where that is not the layout's own
    (it was pooled)."""
    attributes = layer.operation.attributes
    layout = layout_of(attributes[name], value) if name in attributes else None
    value = in_f32(value)
    if not isinstance(layout, LaneGrid):
        return value
    image = list(sizes) or list(layout.image[3 - rank :])
    return _unlifted(value, layout.over(image), image)


def laid_out(layer: Any, value: Value) -> Value:
    """``value`` f32 [N, C, *image] as the output of ``layer``: on its lane grid, in its type."""
    attributes = layer.operation.attributes
    layout: Layout | None = None
    if "output_layout" in attributes:
        layout = layout_of(attributes["output_layout"], layer.output)
    if isinstance(layout, LaneGrid):
        value = _lifted(value, layout.over(shape_of(value)[2:]))
    return as_type(value, element_of(layer.output.type))


def _grid(layer: Any) -> LaneGrid:
    grid = layout_of(layer.layout, layer.input)
    assert isinstance(grid, LaneGrid)  # the verifier says so
    return grid


def _lifted(value: Value, grid: LaneGrid) -> Value:
    numbers = np.full(grid.plane, -1)
    numbers[grid.places(*np.indices(grid.image)).ravel()] = np.arange(prod(grid.image))
    return gathered(value, numbers, [grid.lines, grid.lanes])


def _unlifted(value: Value, grid: LaneGrid, image: Sequence[int]) -> Value:
    return gathered(value, grid.places(*np.indices(grid.image)), list(image))
