"""The attributes that say how a layer runs, what is known of it, and for which machine; each is a dataclass.

    #sparse.schedule<{channel_block = 32 : i64, micro_kernel = "kernel_classes"}>     schedule/schedule.py
    #sparse.record<{layer = "layer1.0.conv1", reason = "sparse: ..."}>                schedule/record.py
    #sparse.target<{core = "cortex-a76", lanes = 4 : i64}>                            devices/device.py
"""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from typing import Any

from ..devices.device import Device
from ..errors import op_error
from ..ir.mlir import ir
from ..schedule.record import Record
from ..schedule.schedule import Schedule
from .dialect import Sparse
from .values import changes_of, from_changes

TARGET = "sparse.target"  # the module's attribute


class ScheduleAttr(Sparse.Attribute, name="schedule"):
    """How a layer runs: the fields of ``Schedule`` that are decided."""

    fields: ir.DictAttr


class RecordAttr(Sparse.Attribute, name="record"):
    """What is known of a layer: the fields of ``Record``."""

    fields: ir.DictAttr


class TargetAttr(Sparse.Attribute, name="target"):
    """The machine that code is made for: the fields of ``Device``."""

    fields: ir.DictAttr


def schedule_attribute(schedule: Schedule | None = None) -> ir.Attribute:
    """The attribute of ``schedule``, None for an empty one (needs a current context)."""
    return ScheduleAttr.get(changes_of(schedule or Schedule()))


def record_attribute(record: Record | None = None) -> ir.Attribute:
    """The attribute of ``record``, None for an empty one (needs a current context)."""
    return RecordAttr.get(changes_of(record or Record()))


def schedule_of(op: Any) -> Schedule:
    """What is decided for the layer ``op``."""
    return from_changes(Schedule, op.operation.attributes["schedule"].fields)


def record_of(op: Any) -> Record:
    """What is known of the layer ``op``."""
    return from_changes(Record, op.operation.attributes["record"].fields)


def set_schedule(op: Any, schedule: Schedule) -> None:
    """Writes down what is decided for the layer ``op``."""
    op.operation.attributes["schedule"] = schedule_attribute(schedule)


def set_record(op: Any, record: Record) -> None:
    """Writes down what is known of the layer ``op``."""
    op.operation.attributes["record"] = record_attribute(record)


def device_of(module: ir.Operation) -> Device:
    """The machine that ``module`` is compiled for; raises ``PassError`` where the attribute says none."""
    attributes = module.operation.attributes
    if TARGET not in attributes:
        return Device()
    found = attributes[TARGET]
    try:
        if not isinstance(found, TargetAttr):
            raise ValueError(f"expected #sparse.target<{{...}}>, found {found}")
        device = from_changes(Device, found.fields)
        complaint = device.complaint()
    except ValueError as error:
        complaint = str(error)
    if complaint is not None:
        raise op_error(module, f"a target as module attribute '{TARGET}'", complaint, "correct it")
    return device


def set_device(module: ir.Operation, device: Device) -> None:
    """Says which machine ``module`` is compiled for (needs a current context)."""
    module.operation.attributes[TARGET] = TargetAttr.get(changes_of(device))
