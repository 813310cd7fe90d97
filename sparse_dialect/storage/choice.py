"""Which storage a layer's weight is kept in, from what its schedule says."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np

from ..devices.cores import Core
from ..schemes.dense import Dense
from ..schemes.scheme import Scheme
from ..schemes.shared_columns import SharedColumns
from ..schemes.structured import Structured
from .column_groups import ColumnGroups
from .dense import DENSE_VECTORS, DenseKernels, DenseRows
from .fkw import Fkw
from .kept_rows import KeptRows
from .sell import Sell
from .storage import Storage


def convolution_storage(scheme: Scheme, shape: Sequence[int], groups: int, filters_per_group: int,
                        channel_block: int, mixed: bool = False) -> Storage:
    """What the kernels of a convolution of ``groups`` groups and a weight of ``shape`` [F, C/groups, *kernel]
    read."""
    depthwise = groups == shape[0] and shape[1] == 1
    if isinstance(scheme, Dense) and (groups == 1 or depthwise):
        return DenseKernels(filters_per_group)
    if isinstance(scheme, SharedColumns):
        unit = gcd(scheme.channels_together, channel_block)
        return ColumnGroups(filters_per_group, unit, channel_block, groups)
    return Fkw(filters_per_group, channel_block, groups, mixed)


def matrix_storage(scheme: Scheme, weight: np.ndarray, lanes: int, core: Core, gates: int,
                   inputs: int | None, given: tuple[int | None, int | None] = (None, None)) -> Storage:
    """What the kernels of a linear (``gates`` = 1) or recurrent layer of ``weight`` [M, K] read, which so
    many ``inputs`` share (None: only the run knows). ``given``: a group of rows and a window,
    which slices obey."""
    if isinstance(scheme, Dense):
        return DenseRows(lanes, gates if gates > 1 else DENSE_VECTORS, gates)
    if isinstance(scheme, Structured) and gates == 1:
        return KeptRows.of(weight, lanes)
    return Sell.choose(weight, lanes, core, gates, inputs, given)
