"""Lane-major storage of dense matrices for matrix-vector products: vectors run along rows, weights stream
once."""

from __future__ import annotations

import numpy as np

DENSE_VECTORS = 4  # vectors of rows that share a broadcast input


def pack_dense_rows(weight: np.ndarray, lanes: int, vectors: int = DENSE_VECTORS) -> dict[str, np.ndarray]:
    """``weight`` [M, K] as [ceil(M / (vectors * lanes)), K, vectors, lanes], rows of zeros at the end."""
    rows, columns = weight.shape
    width = vectors * lanes
    packed = np.zeros((-(-rows // width), columns, width), np.float32)
    for at in range(len(packed)):
        part = weight[at * width : (at + 1) * width]
        packed[at, :, : len(part)] = part.T
    return {"weight": packed.reshape(len(packed), columns, vectors, lanes)}
