"""Reads layers as the GPU's kernels take them: the one module that knows packed ops.

A layer that no kernel covers is a ``PassError`` that names the op, its location and what would run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...activations import activation_of
from ...dialect.ops import PoolOp
from ...dialect.schedules import schedule_of
from ...dialect.schemes import scheme_of
from ...dialect.storages import packed_weight
from ...errors import op_error
from ...geometry import convolution as geometry
from ...ir.constants import weight_of
from ...ir.mlir import ir
from ...ir.values import integers, shape_of
from ...schemes import Dense, SharedColumns
from ...schemes.shared_columns import group_rows
from .assignment import rows_of, three
from .kernels.convolution import Convolution, Tile
from .kernels.nest import Access, Affine, Body, Nest, Scope
from .kernels.pools import Pool
from .kernels.products import SLICE, Product, packed_dense, packed_sparse, parts
from .kernels.recurrent import Step, packed_units
from .layout import LANES, SPARE_ROWS, Layout, Matrix, Rows, Tensor
from .profiles import Profile
from .stored_kernels import Geometry, Stored, stored_kernels
from .tiling import SUBGROUP, choose_pooled, choose_tile

MOST_THREADS = 128  # of a workgroup, on every device
MOST_BYTES = 1 << 27  # of a buffer that a kernel sees: what every device offers


def fusible_pool(op: Any) -> PoolOp | None:
    """The maximum of 2 x 2 pixels that is the only reader of a convolution's result, if there is one."""
    uses = list(op.output.uses)
    pool = uses[0].owner if len(uses) == 1 else None
    if not isinstance(pool, PoolOp) or op.residual is not None or ir.StringAttr(pool.kind).value != "max":
        return None
    padded = any((*integers(pool.padding_low), *integers(pool.padding_high)))
    squares = three(pool.kernel, 1) == three(pool.strides, 1) == (1, 2, 2)
    return pool if squares and not padded else None


def convolution_of(op: Any, source: Layout, residual: Layout | None, half: bool, profile: Profile
                   ) -> tuple[Convolution, dict[str, np.ndarray]]:
    """A packed convolution, with the pool behind it where that pays, and the arrays of its kernel: ``rows``,
    ``index``, ``weight``, ``bias``."""
    target, pool = rows_of(op.output), fusible_pool(op)
    assert isinstance(source, Rows)
    assert residual is None or isinstance(residual, Rows)
    if any(size != 1 for size in integers(op.pool)):
        raise op_error(op, "a convolution without a fused pool", f"a pool of {integers(op.pool)}",
                       "leave the pool to sparse.pool")
    conv, packed = geometry.Convolution.of(op), packed_weight(op)
    stride = three(op.strides, 1)
    where = Geometry(conv.groups, three(op.dilations, 1), three(op.padding_low, 0),
                     source.plane, source.slice, source.pitch)
    scheme = scheme_of(op)
    schedule = schedule_of(op)
    stored = stored_kernels(scheme, packed.unpack(), where, schedule.filters or profile.dense_filters)
    sums = profile.dense if isinstance(scheme, Dense) else profile.accumulators
    _check_schedule(op, stored)
    tile: Tile | None = None if schedule.tile is None else _given_tile(op, schedule.tile)
    if pool is None or (tile is not None and not _is_even(tile)):
        pooled = None
    else:
        pooled = tile or choose_pooled(stored, target, conv.batch, stride, sums)
    if pooled is not None and pool is not None:
        tile, target = pooled, rows_of(pool.output)
    tile = tile or choose_tile(stored, target, conv.batch, stride, sums)
    bias = np.zeros(conv.filters, np.float32) if op.bias is None else weight_of(op, op.bias)
    layer = Convolution(
        source,
        target,
        conv.batch,
        len(stored.groups),
        stored.groups.shape[1],
        stored.kernels,
        stored.classes,
        stride,
        activation_of(op).name,
        residual,
        tile,
        half,
        pooled is not None,
        schedule.threads or 0,
        bool(schedule.filters_first),
    )
    return layer, _arrays(stored, bias.astype(np.float32), half)


def _check_schedule(op: Any, stored: Stored) -> None:
    """``PassError`` where a schedule says what the layer's kernel cannot do."""
    schedule, together = schedule_of(op), stored.groups.shape[1]
    if schedule.filters not in (None, together):
        expected = f"a schedule of {together} filters a thread, which is what its scheme and groups allow"
        raise op_error(op, expected, str(schedule.filters), "correct or leave out the schedule's filters")
    if schedule.threads is not None and (schedule.threads % SUBGROUP or schedule.threads > MOST_THREADS):
        raise op_error(op, f"a schedule of threads in eights, at most {MOST_THREADS}", str(schedule.threads),
                       "correct or leave out the schedule's threads")


def _is_even(tile: Tile) -> bool:
    return tile.rows % 2 == 0 and tile.vectors % 2 == 0


def _given_tile(op: Any, sizes: Sequence[int]) -> Tile:
    """The tile that a schedule says, rows and columns of pixels; ``PassError`` where none is like it."""
    rows, columns = ([1, *sizes])[-2:]
    low_enough = (rows - 1) * three(op.strides, 1)[1] <= SPARE_ROWS - 2
    if columns % LANES or not low_enough or any(size != 1 for size in sizes[:-2]):
        raise op_error(op, f"a tile of rows, and columns in fours, with (rows - 1) x stride of at most "
                       f"{SPARE_ROWS - 2}", str(list(sizes)), "correct or leave out the schedule's tile")
    return Tile(rows, columns // LANES)


def _arrays(stored: Stored, bias: np.ndarray, half: bool) -> dict[str, np.ndarray]:
    return {
        "rows": stored.rows,
        "index": stored.index,
        "weight": stored.weight.astype(np.float16) if half else stored.weight,
        "bias": bias[stored.groups],
    }


def linear_of(op: Any, half: bool) -> list[tuple[Product, dict[str, np.ndarray]]]:
    """A packed linear layer: ``products_of`` its weight."""
    weight = packed_weight(op).unpack()
    bias = np.zeros(len(weight), np.float32) if op.bias is None else weight_of(op, op.bias)
    (rows, inputs), outputs = shape_of(op.input), len(weight)
    return products_of(op, weight, bias, (Matrix(rows, inputs), Matrix(rows, outputs)), half)


def step_of(op: Any, half: bool, free: bool) -> tuple[Step, dict[str, np.ndarray]]:
    """A step of a packed GRU or LSTM, and the arrays of its kernel; ``free``: a run decides how many there
    are."""
    weight = packed_weight(op).unpack()
    gates, hidden = len(weight) // weight.shape[1], weight.shape[1]
    arrays = packed_units(weight, gates)
    bias = np.zeros(len(weight), np.float32) if op.bias is None else weight_of(op, op.bias)
    if half:
        arrays["weight"] = arrays["weight"].astype(np.float16)
    state = Matrix(shape_of(op.initial)[0], hidden)
    layer = Step(state, gates, -(-hidden // SLICE), len(arrays["weight"]), half, free)
    return layer, arrays | {"bias": bias.astype(np.float32)}


def as_matrix(array: np.ndarray, half: bool) -> np.ndarray:
    """A constant [rows, columns] as a ``Matrix`` lies."""
    layout = Matrix(*array.shape)
    padded = np.zeros((layout.rows, layout.pitch), np.float16 if half else np.float32)
    padded[:, : layout.columns] = array
    return padded


def products_of(op: Any, weight: np.ndarray, bias: np.ndarray, sides: tuple[Matrix, Matrix], half: bool
                ) -> list[tuple[Product, dict[str, np.ndarray]]]:
    """Products of a layer between two matrices, each of some rows of ``weight`` [M, K], and their arrays:
    ``start``, ``index`` where it is sparse, ``weight``, ``row`` and ``bias``."""
    scheme = scheme_of(op)
    activation = activation_of(op).name if "activation" in op.operation.attributes else "none"
    if isinstance(scheme, Dense):
        arrays = packed_dense(weight)
    else:
        shares = isinstance(scheme, SharedColumns)
        groups = group_rows(weight, LANES) if shares else np.arange(len(weight))[:, None]
        arrays = packed_sparse(weight, groups)
    if half:
        arrays["weight"] = arrays["weight"].astype(np.float16)
    found = []
    for part in parts(arrays, MOST_BYTES):
        entries, _, together = part["weight"].shape
        what = Product(sides[0], sides[1], len(part["row"]), entries, together, "index" not in part,
                       activation, half)
        found.append((what, part | {"bias": bias.astype(np.float32)}))
    return found


def pool_of(op: Any, source: Layout, half: bool) -> Pool:
    """A pool."""
    target = rows_of(op.output)
    assert isinstance(source, Rows)
    return Pool(
        source,
        target,
        ir.StringAttr(op.kind).value,
        three(op.kernel, 1),
        three(op.strides, 1),
        three(op.padding_low, 0),
        half,
    )


def global_pool(op: Any, source: Tensor, target: Tensor, half: bool) -> tuple[Nest, Body]:
    """A pool of whole images, however they lie: a thread an image."""
    reduced = len(integers(op.kernel))
    kept = len(source.shape) - reduced
    loops = tuple(Affine(((at, 1),)) for at in range(len(source.shape)))
    places = (*loops[:kept], *[Affine()] * reduced)
    largest = ir.StringAttr(op.kind).value == "max"
    share = 1 / prod(source.shape[kept:])

    def body(scope: Scope) -> list[str]:
        e, (x,), (total,) = scope.e, scope.inputs, scope.sums
        if largest:
            return [e.applied("max", [x, total], "f32")]
        return [e.applied("add", [e.applied("mul", [x, e.real(share)], "f32"), total], "f32")]

    nest = Nest(source.shape, tuple(range(kept, len(source.shape))), (Access(source, loops),),
                (float("-inf") if largest else 0.0,), (Access(target, places),), lanes=False, half=half,
                sources=(0,))
    return nest, body
