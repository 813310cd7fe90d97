"""What a module's layers tell of the network as a whole."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any

from ..devices.device import NetworkDevice
from ..ir.mlir import ir
from ..ir.values import integers, shape_of
from ..ir.walk import operations
from .recurrent import PACKED_LAYERS, WEIGHTED
from .schedules import device_of


def network_device(module: ir.Operation) -> NetworkDevice:
    """``device_of`` with the bytes that all layers of ``module`` have of weights, packed or not."""
    found = operations(module, *WEIGHTED, *PACKED_LAYERS)
    weights = sum(4 * prod(_shape(layer)) for layer in found)
    return NetworkDevice(**asdict(device_of(module)), weights=weights)


def _shape(layer: Any) -> tuple[int, ...]:
    """The shape of a layer's weight."""
    return tuple(shape_of(layer.weight) if isinstance(layer, WEIGHTED) else integers(layer.weight_shape))
