"""Matrix products, dense and sparse: a thread computes ``together`` rows of the weight that share columns.

    for k in start[slice] .. start[slice + 1]:          # a slice: as many lanes as a workgroup has threads
      x = input[index[k, lane]]                         # dense: input[k]
      acc[r] += weight[k, lane, r] * x

Lanes of a slice are neighbours in memory (SELL; Kreutzer et al., SIAM 2014) and of about equal length, so
neighbouring threads read neighbouring weights. A lane that ends early multiplies zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..emitter import WIDE, Buffer, Emitter, Kernel, vectors_of
from ..layout import LANES, Matrix

SLICE = 64  # lanes, and threads of a workgroup
LONGEST_HALF_SUM = 256


@dataclass(frozen=True)
class Product:
    """out [N, M] = act(x [N, K] @ weight.T + bias). Buffers:

        start  [slices + 1] i32        first entry of each slice
        index  [entries, SLICE] i32    column of each lane (dense: left out, an entry is a column)
        weight [entries, SLICE, R]     0 where a lane has none
        row    [slices, SLICE, R] i32  the output of each row of a lane; M where there is none
        bias   [M] f32
    """

    source: Matrix
    target: Matrix
    slices: int
    entries: int
    together: int  # R: 1 or 4
    dense: bool
    activation: str
    half: bool = False

    def buffers(self) -> list[Buffer]:
        """The kernel's arguments."""
        element = "f16" if self.half else "f32"
        count = max(self.entries, 1) * SLICE
        single = self.together == 1
        weight = Buffer("weight", element, count) if single else vectors_of("weight", count, element)
        return [
            Buffer("input", element, self.source.rows * self.source.pitch),
            Buffer("start", "i32", self.slices + 1),
            *([] if self.dense else [Buffer("index", "i32", count)]),
            weight,
            Buffer("row", "i32", self.slices * SLICE * self.together),
            Buffer("bias", "f32", self.target.columns),
            Buffer("output", element, self.target.rows * self.target.pitch, True),
        ]


def product(layer: Product) -> Kernel:
    """The kernel of a layer; y of a workgroup is the row of the input."""
    e = Emitter(layer.buffers(), layer.half, SLICE)
    by_vector = layer.together == LANES
    type_, wide = (e.vector, WIDE) if by_vector else (e.element, "f32")
    source = e.times("%by", layer.source.pitch)
    low, high = (e.load_index("start", e.add("%bx", at)) for at in range(2))

    def entry(k: str, sums: list[str]) -> list[str]:
        at = e.add(e.times(k, SLICE), "%tx")
        column = e.new(f"arith.subi {k}, {low} : index") if layer.dense else e.load_index("index", at)
        x = e.load("input", e.add(source, column))
        weight = e.load("weight", at)
        return [e.multiply_add(weight, e.splat(x) if by_vector else x, sums[0], type_)]

    (total,) = e.restarting_loop(low, high, [e.real(0, wide)], LONGEST_HALF_SUM, entry, not by_vector)
    _store(e, layer, total)
    return e.kernel((layer.slices, layer.source.rows, 1))


def _store(e: Emitter, layer: Product, total: str) -> None:
    """Bias and activation of the rows of a lane, each to its own place."""
    lane = e.add(e.times("%bx", SLICE), "%tx")
    target = e.times("%by", layer.target.pitch)
    for own in range(layer.together):
        row = e.load_index("row", e.add(e.times(lane, layer.together), own))
        value = total if layer.together == 1 else e.lane(total, own, "f32")

        def store(row: str = row, value: str = value) -> None:
            biased = e.new(f"arith.addf {value}, {e.load('bias', row)} : f32")
            value = e.activated(biased, layer.activation, "f32")
            e.store(e.narrowed(value, scalar=True), "output", e.add(target, row))

        e.when(e.below(row, layer.target.columns), store)


def parts(arrays: dict[str, np.ndarray], most_bytes: int) -> list[dict[str, np.ndarray]]:
    """``arrays`` in slices whose weights have ``most_bytes`` at the most: what devices show a kernel at once.
    A slice alone may have more."""
    start, weight = arrays["start"], arrays["weight"]
    bytes_of = np.diff(start) * weight[0].nbytes if len(weight) else np.zeros(len(start) - 1)
    found, first, total = [], 0, 0.0
    for number, size in enumerate([*bytes_of, float("inf")]):
        if number > first and total + size > most_bytes:
            found.append(_part(arrays, first, number))
            first, total = number, 0.0
        total += size
    return found


def _part(arrays: dict[str, np.ndarray], first: int, last: int) -> dict[str, np.ndarray]:
    low, high = arrays["start"][first], arrays["start"][last]
    entries = {name: array[low:high] for name, array in arrays.items() if name in ("index", "weight")}
    if low == high:  # a buffer has at least one element
        entries = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in entries.items()}
    return {"start": arrays["start"][first : last + 1] - low, **entries, "row": arrays["row"][first:last]}


def packed_dense(weight: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a dense ``weight`` [M, K], four rows a lane."""
    rows, columns = weight.shape
    slices = -(-rows // (SLICE * LANES))
    padded = np.zeros((slices * SLICE * LANES, columns), np.float32)
    padded[:rows] = weight
    values = padded.reshape(slices, SLICE, LANES, columns).transpose(0, 3, 1, 2)
    order = np.minimum(np.arange(len(padded)), rows)
    return {
        "start": np.arange(slices + 1, dtype=np.int32) * columns,
        "weight": np.ascontiguousarray(values).reshape(-1, SLICE, LANES),
        "row": order.astype(np.int32).reshape(slices, SLICE, LANES),
    }


def packed_sparse(weight: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of ``weight`` [M, K] whose rows share columns in ``groups`` [G, 1 or 4]; a short group
    repeats its last row."""
    rows, together = len(weight), groups.shape[1]
    columns = [np.flatnonzero((weight[group] != 0).any(axis=0)) for group in groups]
    lanes = sorted(range(len(groups)), key=lambda lane: -len(columns[lane]))
    slices = -(-len(lanes) // SLICE)
    lengths = [len(columns[lanes[at * SLICE]]) for at in range(slices)]
    start = np.concatenate([[0], np.cumsum(lengths)])
    index = np.zeros((start[-1], SLICE), np.int32)
    values = np.zeros((start[-1], SLICE, together), np.float32)
    place = np.full((slices, SLICE, together), rows, np.int32)
    for number, lane in enumerate(lanes):
        slice_, own = divmod(number, SLICE)
        kept, group = columns[lane], groups[lane]
        entries = slice(start[slice_], start[slice_] + len(kept))
        index[entries, own] = kept
        values[entries, own] = weight[np.ix_(group, kept)].T
        place[slice_, own] = group
    return {"start": start.astype(np.int32), "index": index, "weight": values, "row": place}
