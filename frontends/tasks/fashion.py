"""Fashion-MNIST (Xiao et al. 2017): 28 x 28 pictures of ten kinds of clothes, from Debian's package."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import EspalierError
from .batches import TensorBatches, flipped_and_shifted
from .idx import data_folder, read_idx
from .task import Task

INSTALL = "apt-get install dataset-fashion-mnist"
VALIDATION = 5000  # the last of the training pictures
MEAN, DEVIATION = 0.286, 0.353


def fashion_mnist(images: int = 55_000, batch: int = 128, test_images: int = 10_000) -> Task:
    """Batches of (x f32 [N, 1, 28, 28], label i64 [N]); ``images``: how many to train on."""
    x, y = pictures("train")
    if not 1 <= images <= len(x) - VALIDATION:
        raise EspalierError(f"fashion_mnist has 1 to {len(x) - VALIDATION} images to train on, found "
                            f"{images}")
    test_x, test_y = pictures("t10k")
    train = TensorBatches(normalised(x[:images]), y[:images], batch, shuffle=True,
                          augment=flipped_and_shifted)
    return Task(train, TensorBatches(normalised(x[-VALIDATION:]), y[-VALIDATION:], 500),
                TensorBatches(normalised(test_x[:test_images]), test_y[:test_images], 500),
                loss=smoothed_cross_entropy, name="accuracy")


def smoothed_cross_entropy(outputs: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Cross entropy with a label smoothing of 0.1."""
    return F.cross_entropy(outputs.float(), batch[1], label_smoothing=0.1)


def pictures(part: str) -> tuple[np.ndarray, torch.Tensor]:
    """The pictures (u8 [N, 28, 28]) and labels (i64 [N]) of ``part``: train or t10k."""
    folder = data_folder("fashion-mnist", INSTALL)
    x = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    if x.ndim != 3 or len(x) != len(labels):
        raise EspalierError(f"{folder}: {len(x)} pictures and {len(labels)} labels in {part}")
    return x, torch.from_numpy(labels.astype(np.int64))


def normalised(pictures: np.ndarray) -> torch.Tensor:
    """f32 [N, 1, H, W] of about zero mean and unit deviation."""
    return torch.from_numpy((pictures.astype(np.float32) / 255 - MEAN) / DEVIATION)[:, None]
