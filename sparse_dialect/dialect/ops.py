"""The ops of the ``sparse`` dialect on tensors: one op a layer, its sparsity scheme as an attribute.

    %y = "sparse.conv"(%x, %w, %b) {scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4]]>, strides = [1, 1], ...}

Ops print in generic form. Tensors are ``nchw`` (or ``ncdhw``) until ``sparse-assign-layouts`` gives them a
lane grid (see ``geometry/layouts.py``); weights are ``fchw``.
"""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from typing import Any

from ..ir.mlir import ext, ir
from ..ir.values import integers, shape_of
from .dialect import Sparse
from .layouts import LanesAttr
from .schedules import RecordAttr, ScheduleAttr, record_attribute, schedule_attribute
from .verify import check_activation, check_choice, check_schedule, check_scheme, verified

POOL_KINDS = ("max", "average")


class Layer(Sparse.Operation):
    """Base of the ops that are a layer of a network: how it runs, and what is known of it (``schedules.py``).

    Both can be left out where an op is made, so they come last."""

    def __init_subclass__(cls, **options: Any) -> None:
        if "name" in options:  # the bindings read fields off the class itself
            cls.__annotations__ |= {"schedule": ScheduleAttr, "record": RecordAttr}
            cls.schedule = ext.attribute(default_factory=schedule_attribute)
            cls.record = ext.attribute(default_factory=record_attribute)
        super().__init_subclass__(**options)


class ConvOp(Layer, name="conv"):
    """
    Convolution of any rank, with all fused: act(conv(input, weight) + bias + residual).

    input [N, C, *spatial], weight [F, C/groups, *kernel], bias [F], residual and output [N, F, *spatial'].
    """

    input: ext.Operand[Any]
    weight: ext.Operand[Any]
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    dilations: ir.ArrayAttr
    groups: ir.IntegerAttr
    activation: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None
    residual: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_conv)


class LinearOp(Layer, name="linear"):
    """Matrix product act(input @ weight.T + bias): input [N, K], weight [M, K], bias [M], output [N, M].

    N may be free (``?``), decided when it runs."""

    FREE_LENGTH = True
    input: ext.Operand[Any]
    weight: ext.Operand[Any]
    activation: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_linear)


class PoolOp(Layer, name="pool"):
    """Pooling over the spatial dimensions: ``max`` pads with -inf; ``average`` divides by the window."""

    input: ext.Operand[Any]
    kind: ir.StringAttr
    kernel: ir.ArrayAttr
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    input_layout: Any
    output_layout: Any
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_pool)


class LiftOp(Sparse.Operation, name="lift"):
    """``nchw`` to a lane grid: [N, C, *image] -> [N, C, lines, lanes]."""

    input: ext.Operand[Any]
    layout: LanesAttr
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_lift)


class UnliftOp(Sparse.Operation, name="unlift"):
    """A lane grid back to ``nchw``: [N, C, lines, lanes] -> [N, C, *image]."""

    input: ext.Operand[Any]
    layout: LanesAttr
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_lift)


def _check_conv(op: Any) -> str | None:
    """Shape rules of a convolution: ranks, channels, and every output size."""
    input_shape, weight, output_shape = shape_of(op.input), shape_of(op.weight), shape_of(op.output)
    spatial = len(input_shape) - 2
    if spatial < 1:
        return f"expected an input of rank 3 or more, found rank {len(input_shape)}"
    if len(weight) != spatial + 2:
        return f"expected a weight of rank {spatial + 2}, found rank {len(weight)}"
    groups = ir.IntegerAttr(op.groups).value
    if groups < 1 or weight[1] * groups != input_shape[1] or weight[0] % groups:
        return (f"expected channels x groups = {input_shape[1]} input channels and filters divisible by "
                f"groups, found weight {weight} and groups {groups}")
    geometry = [integers(a) for a in (op.padding_low, op.padding_high, op.dilations, op.strides)]
    for name, values in zip(("padding_low", "padding_high", "dilations", "strides"), geometry, strict=True):
        if len(values) != spatial:
            return f"expected {spatial} {name}, found {len(values)}"
    if min(geometry[2] + geometry[3]) < 1:
        return f"expected positive strides and dilations, found {geometry[3]} and {geometry[2]}"
    expected = [input_shape[0], weight[0]] + [
        (size + low + high - dilation * (k - 1) - 1) // stride + 1
        for size, k, low, high, dilation, stride in zip(input_shape[2:], weight[2:], *geometry, strict=True)]
    if output_shape != expected:
        return f"expected an output of shape {expected}, found {output_shape}"
    if op.bias is not None and shape_of(op.bias) != [weight[0]]:
        return f"expected a bias of shape [{weight[0]}], found {shape_of(op.bias)}"
    if op.residual is not None and shape_of(op.residual) != expected:
        return f"expected a residual of shape {expected}, found {shape_of(op.residual)}"
    return (check_scheme(op, weight) or check_activation(op)
            or check_schedule(op, weight[0], input_shape[1]))


def _check_linear(op: Any) -> str | None:
    input_shape, weight, output_shape = shape_of(op.input), shape_of(op.weight), shape_of(op.output)
    if len(input_shape) != 2 or len(weight) != 2 or input_shape[1] != weight[1]:
        return f"expected input [N, K] and weight [M, K], found {input_shape} and {weight}"
    if output_shape != [input_shape[0], weight[0]]:
        return f"expected an output of shape {[input_shape[0], weight[0]]}, found {output_shape}"
    if op.bias is not None and shape_of(op.bias) != [weight[0]]:
        return f"expected a bias of shape [{weight[0]}], found {shape_of(op.bias)}"
    return check_scheme(op, weight) or check_activation(op) or check_schedule(op)


def _check_pool(op: Any) -> str | None:
    spatial = len(integers(op.kernel))
    for name in ("strides", "padding_low", "padding_high"):
        if len(integers(op.attributes[name])) != spatial:
            return f"expected {spatial} {name}, found {len(integers(op.attributes[name]))}"
    return check_choice("kind", op.kind, POOL_KINDS) or check_schedule(op)


def _check_lift(op: Any) -> str | None:
    """The side that is not lifted is an image of the layout's size."""
    plain = op.input if op.operation.name == "sparse.lift" else op.output
    image = integers(op.layout.image)
    found = shape_of(plain)[2:]
    longer = max(len(image), len(found))
    padded = ([1] * (longer - len(sizes)) + sizes for sizes in (image, found))  # [7, 7] is [1, 7, 7]
    return None if len(set(map(tuple, padded))) == 1 else (
        f"expected an image of size {image}, found {shape_of(plain)}")
