"""Moving clothes: short videos made of Fashion-MNIST's pictures; which way they move cannot be told from one
frame."""

from __future__ import annotations

import numpy as np
import torch

from ...errors import EspalierError
from .batches import TensorBatches
from .fashion import VALIDATION, pictures, smoothed_cross_entropy
from .task import Task

FRAMES = 8
SIDE = 20  # of a frame
PICTURE = 14  # side of the picture in it: Fashion-MNIST's, halved
MOTIONS = ((0, -1), (0, 1), (-1, 0), (1, 0), (0, 0))  # left, right, up, down, on the spot
KINDS = 10
NOISE = 0.18
JITTER = 0.35  # pixels a frame
MEAN, DEVIATION = 0.15, 0.35


def moving_clothes(clips: int = 2000, batch: int = 64, validation_clips: int = 500,
                   test_clips: int = 2000) -> Task:
    """Batches of (x f32 [N, 1, 8, 20, 20], label i64 [N]): kind x motion, 50 classes."""
    if clips < 1:
        raise EspalierError(f"moving_clothes makes at least 1 clip to train on, found {clips}")
    x, kinds = pictures("train")
    test = pictures("t10k")
    train = TensorBatches(*_make(x[:-VALIDATION], kinds[:-VALIDATION], clips, 1), batch, shuffle=True)
    return Task(train,
                TensorBatches(*_make(x[-VALIDATION:], kinds[-VALIDATION:], validation_clips, 3), 250),
                TensorBatches(*_make(*test, test_clips, 2), 250),
                loss=smoothed_cross_entropy, name="accuracy")


def _make(pool: np.ndarray, kinds: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` clips of pictures out of ``pool`` (u8 [N, 28, 28]), with their labels."""
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(pool), count)
    motions = generator.integers(0, len(MOTIONS), count)
    clips = np.stack([_clip(_halved(pool[at]), MOTIONS[motion], generator)
                      for at, motion in zip(chosen, motions, strict=True)])
    labels = kinds[torch.from_numpy(chosen)] * len(MOTIONS) + torch.from_numpy(motions)
    return torch.from_numpy((clips - MEAN) / DEVIATION)[:, None], labels


def _halved(picture: np.ndarray) -> np.ndarray:
    """f32 [14, 14] in 0 to 1 of u8 [28, 28]."""
    return picture.reshape(PICTURE, 2, PICTURE, 2).mean((1, 3)).astype(np.float32) / 255


def _clip(picture: np.ndarray, motion: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """f32 [frames, side, side]: ``picture``, dimmed, moves over noise and comes back at the other side."""
    begin = generator.integers(0, SIDE - PICTURE + 1, 2)
    speed = generator.uniform(0.35, 1.0)
    picture = picture * np.float32(generator.uniform(0.5, 1.0))
    frames = generator.normal(0, NOISE, (FRAMES, SIDE, SIDE)).astype(np.float32)
    for time, frame in enumerate(frames):
        wanted = begin + speed * time * np.array(motion) + generator.normal(0, JITTER, 2)
        down, right = np.rint(wanted).astype(int)
        rows = np.arange(down, down + PICTURE) % SIDE
        columns = np.arange(right, right + PICTURE) % SIDE
        frame[np.ix_(rows, columns)] += picture
    return frames
