"""The scheduler that needs no measurement: today's choices, by the cost model.

A scheduler is asked twice. Before packing, ``choose`` says of a layer whether it runs dense or sparse and
why, and how its weights are stored. Behind layouts, ``among`` picks one of the candidates that a micro-kernel
family offers; a tuner's database would judge the same candidates by what it measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

import numpy as np

from ..devices.device import Device
from ..geometry.convolution import Convolution
from ..schemes import Dense, Empty, Scheme, SharedColumns
from ..schemes.kernels import KernelScheme
from ..storage.choice import matrix_storage
from ..storage.column_groups import ungrouped
from ..storage.dense import DenseKernels, DenseRows
from .cost_model import (
    SMALL_PIXELS,
    channel_block,
    filters_per_group,
    matrix_ms,
    matrix_size,
    one_run,
    share_of_peak,
    shared_channel_block,
    shorter_block,
)
from .families import natural
from .schedule import Schedule

Mode = Literal["auto", "dense", "sparse"]

# Sums of n random products, each step rounded to f16, are off by about 2e-4 sqrt(n / 2) of their size.
LONGEST_FP16_SUM = 256
DENSE = (DenseKernels.name, DenseRows.name)


@dataclass(frozen=True)
class Layer:
    """What a scheduler is told of a layer: its weight's mask, bool, [F, C/groups, *kernel] or [M, K]; the
    scheme that it follows; and its geometry, where it is a convolution. Of a matrix the ``gates`` of a
    recurrent layer (1: a linear one), and how many ``inputs`` share it (None: only the run knows)."""

    mask: np.ndarray
    scheme: Scheme
    convolution: Convolution | None = None
    gates: int = 1
    inputs: int | None = 1

    @property
    def steps(self) -> bool:
        """Whether it is a recurrent layer's."""
        return self.gates > 1


@dataclass(frozen=True)
class Choice:
    """The scheme that a layer runs with (``Dense`` whatever its zeros, or its own), why, and its schedule."""

    scheme: Scheme
    reason: str
    schedule: Schedule


class Scheduler(Protocol):
    """Who decides: the heuristic, or what a tuner measured."""

    def choose(self, layer: Layer, given: Schedule) -> Choice:
        """How ``layer`` runs where ``given``, its schedule so far, leaves it open."""

    def among(self, candidates: Iterable[Schedule], cost: Callable[[Schedule], float]) -> Schedule:
        """One of ``candidates``, of which there is at least one; ``cost``: predicted seconds."""


@dataclass(frozen=True)
class Heuristic:
    """The cost model's choices for ``device``; ``mode`` forces dense or sparse code."""

    device: Device
    mode: Mode = "auto"

    def choose(self, layer: Layer, given: Schedule) -> Choice:
        """Dense or sparse by the predicted times; blocks and groups by what stays in cache."""
        scheme, reason = self._scheme(layer, given)
        schedule = given.filled(**natural(layer.convolution, scheme, layer.steps))
        if layer.convolution is not None:
            if given.filters_per_group in (None, 1):  # rows of several filters cannot be
                schedule = schedule.filled(mixed=self._mixed(layer, layer.convolution, scheme) or None)
            group, block = self._group_and_block(layer, layer.convolution, scheme, bool(schedule.mixed))
            schedule = schedule.filled(filters_per_group=group, channel_block=block)
        return Choice(scheme, reason, schedule)

    def among(self, candidates: Iterable[Schedule], cost: Callable[[Schedule], float]) -> Schedule:
        """The cheapest of ``candidates``; of equals the first."""
        return min(candidates, key=cost)

    def _scheme(self, layer: Layer, given: Schedule) -> tuple[Scheme, str]:
        """The scheme to run with, and the reason in one clause."""
        scheme, mask = layer.scheme, layer.mask
        if layer.convolution is not None and layer.convolution.kind == "depthwise":
            return Dense(), "dense: depthwise, a filter has one kernel"  # nothing to skip but taps
        if isinstance(scheme, Dense):
            return scheme, "dense: no weight is zero" if mask.all() else "dense: nothing to gain"
        share = scheme.multiply_adds(mask) / mask.size
        if isinstance(scheme, Empty):
            limit = 1.0
        elif layer.convolution is not None:
            together = self._together(layer.convolution, scheme)
            limit = (share_of_peak(scheme, self.device.costs, together)
                     / share_of_peak(Dense(), self.device.costs))
        else:
            limit = share * self._matrix_ms(layer, Dense()) / self._matrix_ms(layer, scheme)
        inputs = f" for {layer.inputs} inputs" if (layer.inputs or 1) > 1 else ""
        facts = f"{share:.1%} of the multiply-adds, pays below {limit:.1%}{inputs}"
        mode = self.mode
        if given.storage is not None:
            mode = "dense" if given.storage in DENSE else "sparse"
        if mode == "dense" or (mode == "auto" and share >= limit):
            return Dense(), f"dense: {'asked for' if mode == 'dense' else facts}"
        return scheme, f"sparse: {'asked for' if mode == 'sparse' else facts}"

    def _matrix_ms(self, layer: Layer, scheme: Scheme) -> float:
        """Predicted milliseconds of a matrix with ``scheme``."""
        storage = matrix_storage(scheme, layer.mask, self.device.lanes, self.device.costs, layer.gates,
                                 layer.inputs)
        stored = matrix_size(storage, layer.mask)
        return matrix_ms(storage, layer.mask.shape, stored, layer.inputs, self.device)

    def _mixed(self, layer: Layer, conv: Convolution, scheme: Scheme) -> bool:
        """Whether the kernels of all classes come in one run."""
        if conv.kind != "plain" or not isinstance(scheme, KernelScheme):
            return False
        kept = scheme.multiply_adds(layer.mask) / layer.mask.size
        return one_run(scheme, conv.kernel, kept, prod(conv.window.strides), self.device.costs)

    def _group_and_block(self, layer: Layer, conv: Convolution, scheme: Scheme,
                         mixed: bool) -> tuple[int, int]:
        """Filters that share loaded inputs, and channels that stay in cache together."""
        mask, places = layer.mask, prod(conv.kernel)
        stored = scheme.multiply_adds(mask)
        if isinstance(scheme, SharedColumns):  # whose blocks are short anyway
            whole = ungrouped(mask, conv.groups)
            kept = stored / whole[0].size / len(mask)
            return (scheme.filter_groups(whole).shape[1],
                    shared_channel_block(conv.channels, places, kept, scheme.channels_together))
        block = conv.channels
        if conv.kind == "plain":
            block = channel_block(scheme, conv.channels, conv.kernel, prod(conv.target), self.device.costs,
                                  mixed)
        if self.device.arithmetic == "fp16":
            block = shorter_block(block, places * stored / mask.size, LONGEST_FP16_SUM)
        return 1 if mixed else self._together(conv, scheme), block

    @staticmethod
    def _together(conv: Convolution, scheme: Scheme) -> int:
        """How many filters share loaded inputs: those of a grouped convolution none."""
        if conv.kind != "plain":
            return 1
        return filters_per_group(scheme, conv.filters, prod(conv.kernel), prod(conv.target) <= SMALL_PIXELS)
