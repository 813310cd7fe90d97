"""One time step of a GRU or an LSTM: a thread computes a unit, its rows of all gates at once.

    for k in start[slice] .. start[slice + 1]:
      sums[gate] += weight[k, lane, gate] * h[index[k, lane]]        # a vector of four gates
    GRU:  r, z = sigmoid;  n = tanh(gates_n + r * sum_n);  h' = (1 - z) * n + z * h
    LSTM: c' = f * c + i * g;  h' = o * tanh(c')

Formulas and the order of gates are PyTorch's (``dialect/recurrent.py``). Steps follow each other as launches
of one kernel; where lanes lie is as in ``products.py``, with the rows of a unit as those that share columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..emitter import WIDE, Buffer, Emitter, Kernel, vectors_of
from ..layout import LANES, Matrix
from .products import LONGEST_HALF_SUM, SLICE, packed_sparse

APART = 64  # words between the flags of two steps: bindings begin at multiples of 256 bytes


@dataclass(frozen=True)
class Step:
    """A step of ``gates`` (3: GRU, 4: LSTM) for a ``state`` [N, H]. Buffers: ``gates`` [N, gates * H] of this
    step, ``state`` before, ``table`` (start, row, then index) and ``weight`` of the weight [gates * H, H]
    as ``products.py`` has them, ``bias`` [gates * H] f32; ``output``; an LSTM's ``cell``, in place. Where the
    run decides the number of steps (``free``), ``live``: 1 where it has this one, else 0."""

    state: Matrix
    gates: int
    slices: int
    entries: int
    half: bool = False
    free: bool = False

    @property
    def inputs(self) -> Matrix:
        """The layout of the step's gates."""
        return Matrix(self.state.rows, self.gates * self.state.columns)

    @property
    def indices(self) -> int:
        """Where the indices begin in the table."""
        return self.slices + 1 + self.slices * SLICE * LANES

    def buffers(self) -> list[Buffer]:
        """The kernel's arguments."""
        element = "f16" if self.half else "f32"
        count = max(self.entries, 1) * SLICE
        state = self.state.rows * self.state.pitch
        cell = [Buffer("cell", element, state, True)] if self.gates == LANES else []
        return [
            Buffer("gates", element, self.inputs.rows * self.inputs.pitch),
            Buffer("state", element, state),
            Buffer("table", "i32", self.indices + count),
            vectors_of("weight", count, element),
            Buffer("bias", "f32", self.gates * self.state.columns),
            Buffer("output", element, state, True),
            *cell,
            *[Buffer("live", "i32", 1)] * self.free,
        ]


def packed_units(weight: np.ndarray, gates: int) -> dict[str, np.ndarray]:
    """The arrays of ``weight`` [gates * H, H], the rows of a unit in one lane; a GRU's repeat the last."""
    hidden = weight.shape[1]
    rows = np.minimum(np.arange(LANES), gates - 1) * hidden
    arrays = packed_sparse(weight, np.arange(hidden)[:, None] + rows)
    table = np.concatenate([arrays["start"], arrays["row"].ravel(), arrays["index"].ravel()])
    return {"table": table, "weight": arrays["weight"]}


def step(layer: Step) -> Kernel:
    """The kernel of a step; y of a workgroup is the example of the batch."""
    e = Emitter(layer.buffers(), layer.half, SLICE)
    before = e.times("%by", layer.state.pitch)
    if not layer.free:
        _step(e, layer, before)
        return e.kernel((layer.slices, layer.state.rows, 1))
    live = e.new(f"arith.cmpi ne, {e.load_index('live', e.index(0))}, {e.index(0)} : index")
    e.when(live, lambda: _step(e, layer, before))
    e.when(e.opposite(live), lambda: _hand_on(e, layer, before))
    return e.kernel((layer.slices, layer.state.rows, 1))


def _step(e: Emitter, layer: Step, before: str) -> None:
    low, high = (e.load_index("table", e.add("%bx", at)) for at in range(2))

    def entry(k: str, sums: list[str]) -> list[str]:
        at = e.add(e.times(k, SLICE), "%tx")
        h = e.load("state", e.add(before, e.load_index("table", e.add(at, layer.indices))))
        return [e.multiply_add(e.load("weight", at), e.splat(h), sums[0], e.vector)]

    (total,) = e.restarting_loop(low, high, [e.real(0, WIDE)], LONGEST_HALF_SUM, entry)
    unit = _unit(e, layer)
    e.when(e.below(unit, layer.state.columns), lambda: _gates(e, layer, unit, before, total))


def _unit(e: Emitter, layer: Step) -> str:
    """The unit of a thread."""
    lane = e.times(e.add(e.times("%bx", SLICE), "%tx"), LANES)
    return e.load_index("table", e.add(lane, layer.slices + 1))


def _hand_on(e: Emitter, layer: Step, before: str) -> None:
    """The state of a step that the run has not: the one before."""
    unit = _unit(e, layer)
    place = e.add(before, unit)
    e.when(e.below(unit, layer.state.columns), lambda: e.store(e.load("state", place), "output", place))


def lives(steps: int) -> Kernel:
    """The kernel that says which of so many steps a run has, which ``count`` tells: ``live``, an i32 of each,
    at the alignment of bindings."""
    buffers = [Buffer("count", "i32", 1), Buffer("live", "i32", steps * APART, True)]
    e = Emitter(buffers, threads=SLICE)
    thread = e.thread()

    def own() -> None:
        has = e.new(f"arith.cmpi slt, {thread}, {e.load_index('count', e.index(0))} : index")
        e.store(e.new(f"arith.extui {has} : i1 to i32"), "live", e.times(thread, APART))

    e.when(e.below(thread, steps), own)
    return e.kernel((-(-steps // SLICE), 1, 1))


def _gates(e: Emitter, layer: Step, unit: str, before: str, total: str) -> None:
    """The new state of a unit from its sums."""
    hidden = layer.state.columns
    first = e.add(e.times("%by", layer.inputs.pitch), unit)
    given = [e.widened(e.load("gates", e.add(first, gate * hidden)), scalar=True)
             for gate in range(layer.gates)]
    sums = [_op(e, "add", e.lane(total, gate, "f32"), e.load("bias", e.add(unit, gate * hidden)))
            for gate in range(layer.gates)]
    place = e.add(before, unit)
    state = _gru(e, given, sums, e.widened(e.load("state", place), scalar=True)) if layer.gates == 3 else (
        _lstm(e, given, sums, place))
    e.store(e.narrowed(state, scalar=True), "output", place)


def _op(e: Emitter, operation: str, *operands: str) -> str:
    return e.applied(operation, operands, "f32")


def _gru(e: Emitter, given: Sequence[str], sums: Sequence[str], state: str) -> str:
    reset, update = (_op(e, "sigmoid", _op(e, "add", given[gate], sums[gate])) for gate in range(2))
    new = _op(e, "tanh", _op(e, "add", given[2], _op(e, "mul", reset, sums[2])))
    kept = _op(e, "mul", update, state)
    return _op(e, "add", _op(e, "mul", _op(e, "sub", e.real(1), update), new), kept)


def _lstm(e: Emitter, given: Sequence[str], sums: Sequence[str], place: str) -> str:
    added = [_op(e, "add", own, total) for own, total in zip(given, sums, strict=True)]
    enter, forget, leave = (_op(e, "sigmoid", added[gate]) for gate in (0, 1, 3))
    cell = e.widened(e.load("cell", place), scalar=True)
    kept = _op(e, "mul", forget, cell)
    cell = _op(e, "add", kept, _op(e, "mul", enter, _op(e, "tanh", added[2])))
    e.store(e.narrowed(cell, scalar=True), "cell", place)
    return _op(e, "mul", leave, _op(e, "tanh", cell))
