"""Handwritten digits of 8 x 8 pixels (UCI, Alpaydin and Kaynak 1998), which scikit-learn brings: for quick
tries, too easy for a comparison."""

from __future__ import annotations

import numpy as np
import torch

from ...errors import EspalierError, optional
from .batches import TensorBatches
from .task import Task

PARTS = (1297, 250, 250)  # train, validation, test
LARGEST = 16.0


def digits(images: int = PARTS[0], batch: int = 64) -> Task:
    """Batches of (x f32 [N, 1, 8, 8], label i64 [N])."""
    if not 1 <= images <= PARTS[0]:
        raise EspalierError(f"digits has 1 to {PARTS[0]} images to train on, found {images}")
    x, y = optional("sklearn.datasets", "the digits").load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))  # as they come, writers follow one another
    scaled = torch.from_numpy((x[order] / LARGEST - 0.5).astype(np.float32)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(y[order].astype(np.int64))
    begin, end = PARTS[0], PARTS[0] + PARTS[1]
    return Task(TensorBatches(scaled[:images], labels[:images], batch, shuffle=True),
                TensorBatches(scaled[begin:end], labels[begin:end], PARTS[1]),
                TensorBatches(scaled[end:], labels[end:], PARTS[2]), name="accuracy")
