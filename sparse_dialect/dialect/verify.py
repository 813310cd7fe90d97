"""What the verifiers of all ops share: each check returns the first complaint, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..activations import TABLE
from ..ir.constants import ELEMENTS, has_dtype
from ..ir.mlir import ext, ir
from .layouts import EITHER, LanesAttr
from .schedules import RecordAttr, ScheduleAttr, record_of, schedule_of
from .schemes import is_scheme, scheme_complaint

LAYOUTS: dict[str, Any] = {"layout": LanesAttr, "input_layout": EITHER, "output_layout": EITHER}
KINDS = {ir.ArrayAttr: "an array", ir.DictAttr: "a dictionary",
         ir.IntegerAttr: "an integer", ir.StringAttr: "a string",
         ScheduleAttr: "#sparse.schedule<{...}>", RecordAttr: "#sparse.record<{...}>"}


def verified(op: Any, check: Callable[[Any], str | None]) -> bool:
    """Runs ``check`` on a well-formed op. Python verifiers run before IRDL's, so form comes first."""
    try:
        complaint = _check_form(op) or check(op)
    except (IndexError, KeyError, TypeError, ValueError) as error:  # an exception would lose the location
        complaint = f"is malformed: {error}"
    if complaint is None:
        return True
    op.location.emit_error(f"'{op.operation.name}' op {complaint}")
    return False


def _check_form(op: Any) -> str | None:
    """Attributes present and of their declared kind, operands static ranked tensors, segments that add up."""
    attributes, operands = op.operation.attributes, list(op.operation.operands)
    declared = {field.name: field.constraint for field in type(op)._fields
                if isinstance(field, ext.AttributeDef)}
    for name, kind in declared.items():
        if name not in attributes:
            return f"requires attribute '{name}'"
        if kind in KINDS and not isinstance(attributes[name], kind):
            return f"expected attribute '{name}' to be {KINDS[kind]}, found {attributes[name]}"
        known = is_scheme(attributes[name]) if name == "scheme" else (
            name not in LAYOUTS or isinstance(attributes[name], LAYOUTS[name]))
        if not known:
            return f"expected a sparse dialect {name.replace('_', ' ')}, found {attributes[name]}"
    if "operandSegmentSizes" in attributes:
        found = list(attributes["operandSegmentSizes"])
        if sum(found) != len(operands):
            return f"expected operandSegmentSizes that add up to {len(operands)} operands, found {found}"
    elif type(op)._ODS_OPERAND_SEGMENTS:
        return "requires attribute 'operandSegmentSizes' (operands can be left out)"
    for value in [*operands, *op.operation.results]:
        if not isinstance(value.type, ir.RankedTensorType) or not _is_static(op, value.type):
            return f"expected tensors of static shape, found {value.type}"
        if not has_dtype(value.type.element_type):
            return f"expected tensors of {ELEMENTS}, found {value.type}"
    return None


def _is_static(op: Any, type_: Any) -> bool:
    """Static sizes, but for the first one where the op's class says ``FREE_LENGTH``: the run decides it."""
    first = 1 if getattr(op, "FREE_LENGTH", False) else 0
    return not any(type_.is_dynamic_dim(at) for at in range(first, type_.rank))


def check_choice(name: str, attribute: Any, choices: tuple[str, ...]) -> str | None:
    """A complaint about a string that is none of ``choices``."""
    found = ir.StringAttr(attribute).value
    return None if found in choices else f"expected {name} to be one of {', '.join(choices)}, found '{found}'"


def check_scheme(op: Any, weight: Sequence[int]) -> str | None:
    """The scheme is possible; a scheme of kernels fits kernels of the weight's size."""
    return scheme_complaint(op.scheme, list(weight))


def check_activation(op: Any) -> str | None:
    """A complaint about an activation that there is not."""
    return check_choice("activation", op.activation, tuple(TABLE))


def check_schedule(op: Any, filters: int = 0, channels: int = 0) -> str | None:
    """The schedule's fields are possible, for any layer and for one of so many filters and channels; the
    record can be read."""
    record_of(op)
    schedule = schedule_of(op)
    complaint = schedule.complaint()
    if complaint is not None:
        return f"has an impossible schedule: {complaint}"
    block = schedule.channel_block or 1
    if channels % block:
        return f"has an impossible schedule: expected a channel_block that divides {channels}, found {block}"
    order = schedule.filter_order
    if order is not None and filters and set(order) != set(range(filters)):
        return (f"has an impossible schedule: expected a filter_order of all {filters} filters, "
                f"found {list(order)}")
    return None
