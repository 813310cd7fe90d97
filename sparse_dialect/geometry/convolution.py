"""What a convolution is: sizes, window, and whether it is plain, grouped or depthwise, decided here alone.

    Convolution.of(op).kind        # "plain", "grouped" or "depthwise"

Every pass and every emitter asks this value; none compares groups with filters itself. Sizes count three
dimensions, whatever the layer has (see ``layouts.three``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..activations import activation_of
from ..errors import op_error
from ..ir.mlir import ir
from ..ir.values import integers, shape_of
from .layouts import Three, three
from .window import ONES, Window

Kind = Literal["plain", "grouped", "depthwise"]


@dataclass(frozen=True)
class Convolution:
    """
    One convolution layer with what is fused into it.

    ``source`` is the image that it reads, ``target`` the one that it computes, before the max pool ``pool``
    (ones: none); ``kernel`` are the sizes of the weight [filters, channels / groups, *kernel] in as many
    dimensions as the layer has. ``residual``: whether a tensor is added to the result.
    """

    batch: int
    channels: int
    filters: int
    groups: int
    kernel: tuple[int, ...]
    window: Window
    source: Three
    target: Three
    activation: str = "none"
    residual: bool = False
    pool: Three = ONES

    @staticmethod
    def of(op: Any) -> Convolution:
        """The convolution of a ``sparse.conv`` or a ``sparse.packed_conv``.

        Raises ``PassError`` where it has more than three dimensions, or an activation that nobody knows."""
        attributes = op.operation.attributes
        packed = "weight_shape" in attributes
        filters, channels_a_group, *kernel = integers(op.weight_shape) if packed else shape_of(op.weight)
        if len(kernel) > 3:
            raise op_error(op, "a convolution of one to three dimensions", f"one of {len(kernel)}",
                           "leave it in linalg")
        groups = ir.IntegerAttr(op.groups).value
        window = Window.of(kernel, *(integers(a) for a in (op.strides, op.padding_low, op.dilations)))
        return Convolution(
            batch=shape_of(op.output)[0], channels=channels_a_group * groups, filters=filters, groups=groups,
            kernel=tuple(kernel), window=window, source=_image(attributes, "input_layout", op.input),
            target=_image(attributes, "output_layout", op.output),
            activation=activation_of(op).name, residual=op.residual is not None,
            pool=three(integers(op.pool)) if packed else ONES)

    @property
    def kind(self) -> Kind:
        """``depthwise``: a channel and a filter a group; ``grouped``: several of either."""
        if self.groups == 1:
            return "plain"
        return "depthwise" if self.groups == self.channels == self.filters else "grouped"

    @property
    def kernels_a_filter(self) -> int:
        """Kernels of one filter: the channels of its group."""
        return self.channels // self.groups


def _image(attributes: Any, layout: str, value: ir.Value) -> Three:
    """The size of the image that ``value`` holds, on lanes or row-major."""
    on_lanes = layout in attributes and hasattr(attributes[layout], "image")
    return three(integers(attributes[layout].image) if on_lanes else shape_of(value)[2:])
