"""What the report shows of a launch, read off the layer as its kernel takes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .kernels.convolution import Convolution
from .kernels.products import SLICE, Product
from .kernels.recurrent import Step
from .launches import Facts
from .layout import LANES


def facts_of_convolution(layer: Convolution, arrays: Mapping[str, np.ndarray]) -> Facts:
    """A thread owns a tile of output pixels, for a group of filters."""
    starts = arrays["rows"][:, layer.filters :]
    tiles = layer.work.tiles * layer.batch
    visits = np.diff(starts, axis=1).sum(axis=0) * tiles
    rows, columns = layer.tile.rows, LANES * layer.tile.vectors
    products = sum(int(count) * len(taps) for count, taps in zip(visits, layer.classes, strict=True))
    return Facts(
        f"{rows}x{columns} pixels x {layer.filters} filters{', 2x2 maxima' * layer.pooled}",
        (rows, columns),
        layer.filters,
        tuple(int(count) for count in visits),
        products * rows * columns,
        _bytes(arrays),
    )


def facts_of_product(layer: Product, arrays: Mapping[str, np.ndarray]) -> Facts:
    """A thread owns rows that share columns."""
    products = layer.entries * SLICE * layer.together * layer.source.rows
    mapping = f"{layer.together} rows of {SLICE} lanes"
    return Facts(mapping, (1, 1), layer.together, (), products, _bytes(arrays))


def facts_of_step(layer: Step, arrays: Mapping[str, np.ndarray]) -> Facts:
    """A thread owns a unit's rows of all gates."""
    products = layer.entries * SLICE * LANES * layer.state.rows
    return Facts(f"a unit of {layer.gates} gates", (1, 1), LANES, (), products, _bytes(arrays))


def _bytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for name, array in arrays.items() if name != "bias")
