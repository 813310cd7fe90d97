"""The part of ``sparse-compress-weights`` for matrices: linear and recurrent layers.

Sparse matrices become slices of groups of rows that share columns (``storage/sell.py``), dense ones
lane-major rows (``storage/dense_rows.py``). Recurrent layers store the rows of all gates of a few hidden
units next to each other (``storage/gates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..devices.cores import Core
from ..dialect.ops import LinearOp
from ..dialect.packed import PackedLinearOp, storage_operands
from ..dialect.recurrent import GRU_GATES, LSTM_GATES, GruOp, LstmOp, PackedGruOp, PackedLstmOp
from ..dialect.schemes import scheme_of
from ..dialect.slices import slices_attribute
from ..ir.constants import constant
from ..ir.mlir import ir
from ..ir.values import integer_array, string_array
from ..schemes import Dense
from ..storage.dense_rows import DENSE_VECTORS, pack_dense_rows
from ..storage.gates import interleave_gates
from ..storage.sell import Slices, few_inputs, pack_slices

Matrix = LinearOp | GruOp | LstmOp
PackedMatrix = PackedLinearOp | PackedGruOp | PackedLstmOp


def pack_matrix(layer: Matrix, weight: np.ndarray, lanes: int,
                core: Core) -> tuple[dict[str, np.ndarray], Slices | None]:
    """The storage arrays of ``weight`` [M, K] for the kernel that ``layer`` will call; how slices lie."""
    vectors, run = DENSE_VECTORS, None
    if not isinstance(layer, LinearOp):
        vectors = LSTM_GATES if isinstance(layer, LstmOp) else GRU_GATES
        weight = interleave_gates(weight, vectors, lanes)
        run = vectors * lanes
    if isinstance(scheme_of(layer), Dense):
        return pack_dense_rows(weight, lanes, vectors), None
    packed = pack_slices(weight, lanes, core, run, many=isinstance(layer, LinearOp) and _many(layer, lanes))
    return packed.arrays, packed.slices


def _many(layer: LinearOp, lanes: int) -> bool:
    """Whether so many inputs share the weights that vectors run along them; time steps of a number that only
    the run knows are taken for many."""
    inputs = ir.RankedTensorType(layer.input.type)
    return bool(inputs.is_dynamic_dim(0) or inputs.shape[0] >= few_inputs(lanes))


def packed_matrix(layer: Matrix, arrays: Mapping[str, np.ndarray], slices: Slices | None, name: str,
                  kernel: ir.StringAttr) -> PackedMatrix:
    """The packed op of ``layer`` with ``arrays``, at the current insertion point."""
    storage = storage_operands([constant(array, f"{name}.{key}") for key, array in arrays.items()])
    common: dict[str, Any] = {
        **storage, "storage_names": string_array(list(arrays)), "scheme": layer.scheme, "kernel": kernel,
        "weight_shape": integer_array(ir.RankedTensorType(layer.weight.type).shape), "bias": layer.bias,
        "output": layer.output.type}
    if not isinstance(layer, LinearOp):
        common |= {"gates": layer.gates, "initial": layer.initial, "direction": layer.direction}
    packed: PackedMatrix
    match layer:
        case LinearOp():
            packed = PackedLinearOp(input=layer.input, activation=layer.activation, **common)
        case GruOp():
            packed = PackedGruOp(**common)
        case LstmOp():
            packed = PackedLstmOp(cell=layer.cell, final_cell=layer.final_cell.type, **common)
    if slices is not None:
        packed.operation.attributes["slices"] = slices_attribute(slices)
    return packed
