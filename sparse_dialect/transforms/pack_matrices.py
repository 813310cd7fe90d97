"""The part of ``sparse-compress-weights`` for matrices: linear and recurrent layers.

Sparse matrices become strips of rows that share columns (``schemes/row_blocks.py``), unstructured ones of
linear layers with few inputs slices of rows (``schemes/slices.py``), dense ones lane-major rows
(``schemes/dense_rows.py``). Recurrent layers store the rows of all gates of a few hidden units next to each
other (``schemes/gates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..attributes import scheme_of, strips_attribute
from ..constants import constant
from ..dialect import LinearOp, PackedLinearOp, integer_array, storage_operands, string_array
from ..mlir import ir
from ..recurrent_ops import GRU_GATES, LSTM_GATES, GruOp, LstmOp, PackedGruOp, PackedLstmOp
from ..schemes import Dense, Unstructured
from ..schemes.dense_rows import DENSE_VECTORS, pack_dense_rows
from ..schemes.gates import interleave_gates
from ..schemes.row_blocks import STRIP, Strips, few_inputs, pack_row_blocks
from ..schemes.slices import pack_slices

Matrix = LinearOp | GruOp | LstmOp
PackedMatrix = PackedLinearOp | PackedGruOp | PackedLstmOp


def pack_matrix(layer: Matrix, weight: np.ndarray, lanes: int,
                gathers: bool) -> tuple[dict[str, np.ndarray], Strips | None]:
    """The storage arrays of ``weight`` [M, K] for the kernel that ``layer`` will call; how strips lie."""
    vectors, group = DENSE_VECTORS, 1
    if not isinstance(layer, LinearOp):
        vectors = LSTM_GATES if isinstance(layer, LstmOp) else GRU_GATES
        weight = interleave_gates(weight, vectors, lanes)
        group = vectors * lanes // STRIP
    if isinstance(scheme_of(layer), Dense):
        return pack_dense_rows(weight, lanes, vectors), None
    if isinstance(layer, LinearOp) and isinstance(scheme_of(layer), Unstructured) and _few(layer, lanes):
        return pack_slices(weight, lanes), None
    packed = pack_row_blocks(weight, by_column=not gathers, group=group)
    return packed.arrays, packed.strips


def _few(layer: LinearOp, lanes: int) -> bool:
    """Whether weights serve so few inputs that vectors run along rows, not along inputs."""
    inputs = ir.RankedTensorType(layer.input.type)
    return not inputs.is_dynamic_dim(0) and bool(inputs.shape[0] < few_inputs(lanes))


def packed_matrix(layer: Matrix, arrays: Mapping[str, np.ndarray], strips: Strips | None, name: str,
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
    if strips is not None:
        packed.operation.attributes["strips"] = strips_attribute(strips)
    return packed
