"""The recurrent ops of the ``sparse`` dialect: one layer in one direction each, rolled up over time.

    %gates = "sparse.linear"(%x, %weight_ih, %bias_ih)                      // all time steps at once
    %y = "sparse.gru"(%gates, %initial, %weight_hh, %bias_hh) {direction = "forward", scheme = ...}

A module of several layers and both directions is a chain of such pairs, so that every matrix has its own
scheme. Gates come in PyTorch's order, and their formulas are PyTorch's. The number of steps T may be free.
"""

# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from typing import Any

from ..ir.mlir import ext, ir
from ..ir.values import integers, shape_of
from .ops import ConvOp, Layer, LinearOp
from .packed import Packed, PackedConvOp, PackedLinearOp, check_as_packed, check_storage
from .verify import check_choice, check_schedule, check_scheme, verified

DIRECTIONS = ("forward", "reverse")
GRU_GATES, LSTM_GATES = 3, 4  # reset, update, new; input, forget, cell, output


class GruOp(Layer, name="gru"):
    """
    A gated recurrent unit over time, from the products of its input with ``weight_ih``:

        r = sigmoid(gates_r + W_r h + b_r);  z = sigmoid(gates_z + W_z h + b_z)
        n = tanh(gates_n + r * (W_n h + b_n));  h' = (1 - z) * n + z * h

    gates [T, N, 3H], initial [N, H], weight [3H, H] and bias [3H] (r, z, n one below the other), output
    [T, N, H]: h' of every step, where ``reverse`` goes from the last step to the first.
    """

    FREE_LENGTH = True
    gates: ext.Operand[Any]
    initial: ext.Operand[Any]
    weight: ext.Operand[Any]
    direction: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_gru)


class LstmOp(Layer, name="lstm"):
    """
    A long short-term memory over time, from the products of its input with ``weight_ih``:

        i, f, o = sigmoid(gates + W h + b), each its part;  g = tanh(gates_g + W_g h + b_g)
        c' = f * c + i * g;  h' = o * tanh(c')

    gates [T, N, 4H] (i, f, g, o), initial and cell [N, H], weight [4H, H], bias [4H], output [T, N, H] and
    the last c', final_cell [N, H].
    """

    FREE_LENGTH = True
    gates: ext.Operand[Any]
    initial: ext.Operand[Any]
    cell: ext.Operand[Any]
    weight: ext.Operand[Any]
    direction: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    final_cell: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_lstm)


class PackedGruOp(Packed, name="packed_gru"):
    """``sparse.gru`` with its scheme's storage arrays for a weight."""

    FREE_LENGTH = True
    gates: ext.Operand[Any]
    initial: ext.Operand[Any]
    packing: ir.DictAttr
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    direction: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed_gru)


class PackedLstmOp(Packed, name="packed_lstm"):
    """``sparse.lstm`` with its scheme's storage arrays for a weight."""

    FREE_LENGTH = True
    gates: ext.Operand[Any]
    initial: ext.Operand[Any]
    cell: ext.Operand[Any]
    packing: ir.DictAttr
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    direction: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    final_cell: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed_lstm)


WEIGHTED = (ConvOp, LinearOp, GruOp, LstmOp)  # the ops with a weight and its scheme
PACKED_LAYERS = (PackedConvOp, PackedLinearOp, PackedGruOp, PackedLstmOp)


def gates_of(layer: Any) -> int:
    """The gates of a recurrent layer, packed or not; 1 of any other."""
    if isinstance(layer, GruOp | PackedGruOp):
        return GRU_GATES
    return LSTM_GATES if isinstance(layer, LstmOp | PackedLstmOp) else 1


def inputs_of(layer: Any) -> int | None:
    """How many inputs share the matrix of a linear layer, or of a step of a recurrent one; None where only
    the run knows."""
    type_ = ir.RankedTensorType((layer.initial if gates_of(layer) > 1 else layer.input).type)
    return None if type_.is_dynamic_dim(0) else int(type_.shape[0])


def _check_gru(op: Any) -> str | None:
    return _check_shapes(op, shape_of(op.weight), GRU_GATES, {"initial": op.initial})


def _check_lstm(op: Any) -> str | None:
    return _check_shapes(op, shape_of(op.weight), LSTM_GATES, _states(op))


def _check_packed_gru(op: Any) -> str | None:
    weight = integers(op.weight_shape)
    shapes = _check_shapes(op, weight, GRU_GATES, {"initial": op.initial})
    return shapes or check_storage(op) or check_as_packed(op)


def _check_packed_lstm(op: Any) -> str | None:
    shapes = _check_shapes(op, integers(op.weight_shape), LSTM_GATES, _states(op))
    return shapes or check_storage(op) or check_as_packed(op)


def _states(op: Any) -> dict[str, Any]:
    return {"initial": op.initial, "cell": op.cell, "final_cell": op.final_cell}


def _check_shapes(op: Any, weight: list[int], count: int, states: dict[str, Any]) -> str | None:
    """Shape rules of a recurrent layer with ``count`` gates and ``states`` by their names."""
    gates = shape_of(op.gates)
    if len(weight) != 2 or weight[0] != count * weight[1]:
        return f"expected a weight of [{count} H, H], found {weight}"
    hidden = weight[1]
    if len(gates) != 3 or gates[2] != weight[0]:
        return f"expected gates of [T, N, {weight[0]}], found {gates}"
    for name, value in states.items():
        if shape_of(value) != [gates[1], hidden]:
            return f"expected {name} of {[gates[1], hidden]}, found {shape_of(value)}"
    if shape_of(op.output) != [gates[0], gates[1], hidden]:
        return f"expected an output of {[gates[0], gates[1], hidden]}, found {shape_of(op.output)}"
    if op.bias is not None and shape_of(op.bias) != [weight[0]]:
        return f"expected a bias of {[weight[0]]}, found {shape_of(op.bias)}"
    return (check_scheme(op, weight) or check_choice("direction", op.direction, DIRECTIONS)
            or check_schedule(op))
