"""The packed ops of the ``sparse`` dialect: layers whose weight is its scheme's storage arrays."""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from collections.abc import Sequence
from typing import Any

from ..ir.mlir import ext, ir
from ..ir.values import integers, shape_of
from ..storage import Storage
from .ops import Layer
from .schedules import schedule_of
from .storages import storage_complaint, storage_of
from .verify import check_activation, check_schedule, check_scheme, verified

STORAGE_SLOTS = 8  # storage arrays that a packed op can hold


class Packed(Layer):
    """
    Base of the ops that hold a weight as its scheme's storage arrays, which ``storage_names`` names in their
    order; ``packing`` says how (``storages.py``), ``weight_shape`` is that of the dense weight.

    The arrays are the last operands, ``array_0`` on (``storage_operands`` names them, ``storage`` lists
    them): IRDL binds one type to a variadic operand, and these differ in type.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        for slot in range(STORAGE_SLOTS):  # the bindings read fields off the class itself
            cls.__annotations__[f"array_{slot}"] = ext.Operand[Any] | None
            setattr(cls, f"array_{slot}", None)
        super().__init_subclass__(**options)

    @property
    def storage(self) -> list[Any]:
        """The storage arrays, in the order of ``storage_names``."""
        slots = (getattr(self, f"array_{slot}") for slot in range(STORAGE_SLOTS))
        return [value for value in slots if value is not None]


class PackedConvOp(Packed, name="packed_conv"):
    """
    ``sparse.conv`` with its scheme's storage arrays (FKW, ...) for a weight [F, C/groups, *kernel].

    ``pool`` is the window, and stride, of a max pool fused behind it, ones for none.
    """

    input: ext.Operand[Any]
    packing: ir.DictAttr
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    dilations: ir.ArrayAttr
    groups: ir.IntegerAttr
    activation: ir.StringAttr
    scheme: Any
    pool: ir.ArrayAttr
    input_layout: Any
    output_layout: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None
    residual: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed)


class PackedLinearOp(Packed, name="packed_linear"):
    """``sparse.linear`` with its scheme's storage arrays for a weight."""

    FREE_LENGTH = True
    input: ext.Operand[Any]
    packing: ir.DictAttr
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    activation: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed)


def storage_operands(values: Sequence[Any]) -> dict[str, Any]:
    """A packed op's storage arrays as keywords: ``PackedConvOp(..., **storage_operands(values))``."""
    if len(values) > STORAGE_SLOTS:
        raise ValueError(f"{len(values)} storage arrays, but packed ops have {STORAGE_SLOTS} slots")
    return {f"array_{place}": value for place, value in enumerate(values)}


def check_storage(op: Any) -> str | None:
    """Bias, scheme and storage arrays fit the weight."""
    weight = integers(op.weight_shape)
    if op.bias is not None and shape_of(op.bias) != weight[:1]:
        return f"expected a bias of shape {weight[:1]}, found {shape_of(op.bias)}"
    return check_scheme(op, weight) or storage_complaint(op)


def _check_packed(op: Any) -> str | None:
    weight = integers(op.weight_shape)
    groups = ir.IntegerAttr(op.groups).value if "groups" in op.operation.attributes else 1
    return (check_storage(op) or check_activation(op) or check_schedule(op, weight[0], weight[1] * groups)
            or check_as_packed(op))


def check_as_packed(op: Any) -> str | None:
    """What the schedule says about the storage is what the weight is kept in."""
    schedule, storage = schedule_of(op), storage_of(op)
    for name, packed in {"storage": storage.name, "mixed": False, **stored_fields(storage)}.items():
        said = getattr(schedule, name)
        if said is not None and said != packed:
            return f"expected a schedule with {name} = {packed}, as the weight is packed, found {said}"
    return None


def stored_fields(storage: Storage) -> dict[str, int]:
    """The fields of a schedule that a packed weight settles."""
    names = ("filters_per_group", "channel_block", "window", "mixed")
    known = {name: getattr(storage, name, 0) for name in names}
    return {name: size for name, size in known.items() if size}  # a channel_block of 0: one block
