"""What a module's layers tell of the network as a whole."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from ..devices.device import Device
from ..ir.mlir import ir
from ..ir.values import integers, shape_of
from ..ir.walk import operations
from .recurrent import PACKED_LAYERS, WEIGHTED
from .schedules import device_of


def network_device(module: ir.Operation) -> Device:
    """``device_of`` with the bytes that all layers of ``module`` have of weights, packed or not."""
    found = operations(module, *WEIGHTED, *PACKED_LAYERS)
    return replace(device_of(module), weights=sum(4 * prod(_shape(layer)) for layer in found))


def _shape(layer: Any) -> tuple[int, ...]:
    """The shape of a layer's weight."""
    return tuple(shape_of(layer.weight) if isinstance(layer, WEIGHTED) else integers(layer.weight_shape))
