"""Random small layers as the text of a module, with what PyTorch computes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from espalier.sparse_dialect.schemes import Bcr, Connectivity, Kgs, Pattern, Unstructured
from hypothesis import strategies as st

SCHEMES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dense": lambda weight: weight,
    "unstructured": lambda weight: Unstructured.project(weight, rate=3),
    "connectivity": lambda weight: Connectivity.project(weight, rate=2),
    "pattern": lambda weight: Pattern.project(weight, entries=2, patterns=3, connectivity=1.5),
    "bcr": lambda weight: Bcr.project(weight, rows=min(2, len(weight)), columns=2, rate=2),
    "kgs": lambda weight: Kgs.project(weight, filters=2, channels=2, rate=2)}
OPEN = "schedule = #sparse.schedule<{}>, record = #sparse.record<{}>"  # nothing decided, nothing known
ACTIVATIONS = {"none": lambda y: y, "relu": torch.relu, "relu6": lambda y: torch.clamp(y, 0, 6)}


@dataclass(frozen=True)
class Drawn:
    """A module whose function ``main`` is one layer; its inputs, and its outputs by PyTorch in f64."""

    text: str
    inputs: list[np.ndarray]
    expected: list[np.ndarray]


def type_of(*sizes: Any) -> str:
    return f"tensor<{'x'.join(map(str, sizes))}xf32>"


def dense(array: np.ndarray) -> str:
    """A constant's value as text; f32 written out exactly."""
    flat = [f"{float(value):.9e}" for value in array.ravel()]
    for size in reversed(array.shape):
        flat = [f"[{', '.join(flat[at : at + size])}]" for at in range(0, len(flat), size)]
    return f"dense<{flat[0]}> : {type_of(*array.shape)}"


def drawn_values(draw: st.DrawFn, *sizes: int) -> np.ndarray:
    seed = draw(st.integers(0, 1000))
    return np.random.default_rng(seed).uniform(-1, 1, sizes).astype(np.float32)


def wide(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float64)


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    """1-D to 3-D, of any scheme, groups, stride, dilation and padding; bias, residual, activation, a pool."""
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 1, 2, 4]))
    channels, filters = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides, dilations = ([draw(st.integers(1, 2)) for _ in range(rank)] for _ in range(2))
    low, high = ([draw(st.integers(0, 2)) for _ in range(rank)] for _ in range(2))
    sizes = [draw(st.integers(1, 5)) + dilation * (taps - 1)
             for taps, dilation in zip(kernel, dilations, strict=True)]
    x = drawn_values(draw, draw(st.integers(1, 2)), channels, *sizes)
    weight = drawn_values(draw, filters, channels // groups, *kernel)
    names = [name for name in SCHEMES if name == "dense" or weight.size > 8]
    scheme = draw(st.sampled_from(names))
    if scheme == "pattern" and np.prod(kernel) < 3:
        scheme = "connectivity"
    weight = SCHEMES[scheme](weight)
    bias = drawn_values(draw, filters) if draw(st.booleans()) else None
    activation = draw(st.sampled_from(list(ACTIVATIONS)))

    sides = [side for pair in zip(reversed(low), reversed(high), strict=True) for side in pair]
    padded = torch.nn.functional.pad(wide(x), sides)
    convolve: Any = getattr(torch.nn.functional, f"conv{rank}d")
    y = convolve(padded, wide(weight), None if bias is None else wide(bias), strides, 0, dilations, groups)
    residual = drawn_values(draw, *y.shape) if draw(st.booleans()) else None
    y = ACTIVATIONS[activation](y if residual is None else y + wide(residual))

    inputs = [x] + ([] if residual is None else [residual])
    arguments = ", ".join(f"%a{at}: {type_of(*array.shape)}" for at, array in enumerate(inputs))
    constants = f"  %w = arith.constant {dense(weight)}\n"
    constants += "" if bias is None else f"  %b = arith.constant {dense(bias)}\n"
    given = [("%a0", x.shape), ("%w", weight.shape), *([("%b", bias.shape)] if bias is not None else []),
             *([("%a1", residual.shape)] if residual is not None else [])]
    segments = f"array<i32: 1, 1, {int(bias is not None)}, {int(residual is not None)}>"
    body = (f'  %y = "sparse.conv"({", ".join(name for name, _ in given)}) {{strides = {strides}, '
            f"padding_low = {low}, padding_high = {high}, dilations = {dilations}, groups = {groups}, "
            f'activation = "{activation}", scheme = #sparse.undetected, operandSegmentSizes = {segments}, '
            f"{OPEN}}}\n"
            f"      : ({', '.join(type_of(*shape) for _, shape in given)}) -> {type_of(*y.shape)}\n")
    last = "%y"
    if min(y.shape[2:]) > 1 and draw(st.booleans()):
        kind = draw(st.sampled_from(["max", "average"]))
        body += (f'  %z = "sparse.pool"(%y) {{kind = "{kind}", kernel = {[2] * rank}, '
                 f"strides = {[2] * rank}, "
                 f"padding_low = {[0] * rank}, padding_high = {[0] * rank}, input_layout = #sparse.plain, "
                 f"output_layout = #sparse.plain, {OPEN}}} : ({type_of(*y.shape)}) -> ")
        y = getattr(torch.nn.functional, f"{'max' if kind == 'max' else 'avg'}_pool{rank}d")(y, 2)
        body, last = body + f"{type_of(*y.shape)}\n", "%z"
    text = (f"func.func @main({arguments}) -> {type_of(*y.shape)} {{\n{constants}{body}"
            f"  return {last} : {type_of(*y.shape)}\n}}\n")
    return Drawn(text, inputs, [y.numpy()])


def matrix(draw: st.DrawFn, rows: int, columns: int) -> np.ndarray:
    weight = drawn_values(draw, rows, columns)
    if weight.size <= 8:
        return weight
    return SCHEMES[draw(st.sampled_from(["dense", "unstructured", "bcr"]))](weight)


@st.composite
def linears(draw: st.DrawFn) -> Drawn:
    """Any number of rows, few or many, a number that the run decides too."""
    rows, columns, inputs = draw(st.integers(1, 20)), draw(st.integers(2, 20)), draw(st.integers(1, 12))
    weight, x = matrix(draw, rows, columns), drawn_values(draw, inputs, columns)
    bias = drawn_values(draw, rows) if draw(st.booleans()) else None
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    y = wide(x) @ wide(weight).T + (0 if bias is None else wide(bias))
    number = draw(st.sampled_from([inputs, "?"]))
    source, result = type_of(number, columns), type_of(number, rows)
    more = "" if bias is None else f"  %b = arith.constant {dense(bias)}\n"
    named, types = ("", "") if bias is None else (", %b", f", {type_of(rows)}")
    text = (f"func.func @main(%x: {source}) -> {result} {{\n  %w = arith.constant {dense(weight)}\n{more}"
            f'  %y = "sparse.linear"(%x, %w{named}) {{activation = "{activation}", scheme = '
            f"#sparse.undetected, operandSegmentSizes = array<i32: 1, 1, {int(bias is not None)}>, {OPEN}}}\n"
            f"      : ({source}, {type_of(rows, columns)}{types}) -> {result}\n"
            f"  return %y : {result}\n}}\n")
    return Drawn(text, [x], [ACTIVATIONS[activation](y).numpy()])


@st.composite
def recurrents(draw: st.DrawFn) -> Drawn:
    """A GRU or LSTM in one direction; time steps of a number that the run decides too."""
    lstm, hidden = draw(st.booleans()), draw(st.integers(2, 9))
    steps, batch, gates = draw(st.integers(1, 4)), draw(st.integers(1, 2)), 4 if lstm else 3
    weight, bias = matrix(draw, gates * hidden, hidden), drawn_values(draw, gates * hidden)
    x, state = drawn_values(draw, steps, batch, gates * hidden), drawn_values(draw, batch, hidden)
    cell = drawn_values(draw, batch, hidden)
    direction = draw(st.sampled_from(["forward", "reverse"]))
    states = [wide(state), wide(cell)]
    rows: dict[int, torch.Tensor] = {}
    for time in range(steps) if direction == "forward" else reversed(range(steps)):
        states = step(wide(x[time]), wide(weight), wide(bias), *states, lstm=lstm)
        rows[time] = states[0]
    whole = torch.stack([rows[time] for time in range(steps)]).numpy()

    number = draw(st.sampled_from([steps, "?"]))
    source, result, small = type_of(number, batch, gates * hidden), type_of(number, batch, hidden), type_of(
        batch, hidden)
    given, types = ("%h, %c", f"{small}, {small}") if lstm else ("%h", small)
    results = f"{result}, {small}" if lstm else result
    text = (f"func.func @main(%x: {source}, %h: {small}, %c: {small}) -> ({results}) {{\n"
            f"  %w = arith.constant {dense(weight)}\n  %b = arith.constant {dense(bias)}\n"
            f'  %y{":2" if lstm else ""} = "sparse.{"lstm" if lstm else "gru"}"(%x, {given}, %w, %b) '
            f'{{direction = "{direction}", scheme = #sparse.undetected, operandSegmentSizes = '
            f"array<i32: {'1, ' * (4 if lstm else 3)}1>, {OPEN}}}\n"
            f"      : ({source}, {types}, {type_of(*weight.shape)}, {type_of(*bias.shape)}) -> ({results})\n"
            f"  return {'%y#0, %y#1' if lstm else '%y'} : {results}\n}}\n")
    return Drawn(text, [x, state, cell], [whole, states[1].numpy()] if lstm else [whole])


def step(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, state: torch.Tensor, cell: torch.Tensor,
         lstm: bool) -> list[torch.Tensor]:
    """One step of PyTorch's cells, from the products of the inputs."""
    if lstm:
        i, f, g, o = (x + state @ weight.T + bias).chunk(4, 1)
        new = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(new), new]
    (r, z, n), (r_sum, z_sum, n_sum) = x.chunk(3, 1), (state @ weight.T + bias).chunk(3, 1)
    kept = torch.sigmoid(z + z_sum)
    fresh = torch.tanh(n + torch.sigmoid(r + r_sum) * n_sum)
    return [(1 - kept) * fresh + kept * state, cell]
