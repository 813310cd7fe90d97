"""CIFAR-10 (Krizhevsky 2009) in its binary form: six files of records, a label and 3 x 32 x 32 bytes each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...errors import EspalierError
from .batches import TensorBatches, flipped_and_shifted
from .fashion import smoothed_cross_entropy
from .idx import data_folder
from .task import Task

FOLDER = "cifar-10-batches-bin"
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST = "test_batch.bin"
RECORD = 1 + 3 * 32 * 32
CLASSES = 10
VALIDATION = 0.1  # the last tenth of the training pictures
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def cifar10(images: int | None = None, batch: int = 128, folder: str | None = None) -> Task:
    """Batches of (x f32 [N, 3, 32, 32], label i64 [N]) out of ``folder`` (default: cifar-10-batches-bin below
    ``$ESPALIER_DATA``); ``images``: how many to train on."""
    place = Path(folder) if folder else data_folder(FOLDER, "unpack cifar-10-binary.tar.gz there")
    parts = [read_records(place / name) for name in TRAIN]
    x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    kept = max(1, round(VALIDATION * len(x)))
    most = len(x) - kept
    if not 1 <= (images or most) <= most:
        raise EspalierError(f"{place} has 1 to {most} images to train on, found {images}")
    used = slice(0, images or most)
    return Task(_batches((x[used], y[used]), batch, train=True),
                _batches((x[-kept:], y[-kept:]), 500),
                _batches(read_records(place / TEST), 500), loss=smoothed_cross_entropy, name="accuracy")


def read_records(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures u8 [N, 3, 32, 32] and labels u8 [N]; ``EspalierError`` for a file that holds none."""
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
    if len(raw) == 0 or len(raw) % RECORD:
        raise EspalierError(f"{path}: {len(raw)} bytes are no whole number of records of {RECORD}")
    records = raw.reshape(-1, RECORD)
    if records[:, 0].max() >= CLASSES:
        raise EspalierError(f"{path}: a label of {records[:, 0].max()}, expected 0 to {CLASSES - 1}: "
                            "CIFAR-100?")
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _batches(part: tuple[np.ndarray, np.ndarray], size: int, *, train: bool = False) -> TensorBatches:
    x = torch.from_numpy(part[0].astype(np.float32) / 255)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    return TensorBatches(x, torch.from_numpy(part[1].astype(np.int64)), size, shuffle=train,
                         augment=flipped_and_shifted if train else None)
