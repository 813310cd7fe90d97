"""Folders of pictures, a folder a class below ``train``, ``val`` and, if there is one, ``test``: ImageNet's
layout. Pictures are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...errors import EspalierError, optional
from .fashion import smoothed_cross_entropy
from .idx import data_folder
from .task import Task

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
LARGER = 256 / 224  # a picture's short side over the crop, when a network is judged
LEAST_SCALE = 0.35  # of the short side that a training crop takes at least
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def image_folder(folder: str | None = None, size: int = 224, batch: int = 64) -> Task:
    """Batches of (x f32 [N, 3, size, size], label i64 [N]); ``folder``: default images below
    ``$ESPALIER_DATA``. Classes are train's folders, in the order of their names."""
    place = Path(folder) if folder else data_folder(
        "images", "put train/CLASS/*.jpg and val/CLASS/*.jpg in it")
    classes = sorted(path.name for path in _folders(place / "train"))
    loaders = [DataLoader(Pictures(place / part, classes, size, train=part == "train"), batch,
                          shuffle=part == "train", drop_last=False)
               for part in ("train", "val", "test") if part != "test" or (place / part).is_dir()]
    return Task(loaders[0], loaders[1], loaders[2] if len(loaders) > 2 else None,
                loss=smoothed_cross_entropy, name="accuracy")


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """(x f32 [3, size, size], class) of every picture below ``folder``; training ones cropped and mirrored at
    random by torch's generator."""

    def __init__(self, folder: Path, classes: Sequence[str], size: int, *, train: bool = False) -> None:
        self.size, self.train = size, train
        unknown = next((path.name for path in _folders(folder) if path.name not in classes), None)
        if unknown is not None:
            raise EspalierError(f"{folder}: class '{unknown}' is not among those of train")
        self.items = [(path, number) for number, name in enumerate(classes)
                      for path in sorted((folder / name).glob("*")) if path.suffix.lower() in SUFFIXES]
        if not self.items:
            raise EspalierError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))}) in its folders")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        path, label = self.items[at]
        library = optional("PIL.Image", "a folder of pictures")
        try:
            with library.open(path) as file:
                picture = file.convert("RGB")
        except Exception as error:  # damaged pictures fail in many ways inside Pillow
            raise EspalierError(f"cannot read the picture '{path}': {error}") from error
        box = _crop(picture.size, self.size, train=self.train)
        pixels = np.asarray(picture.resize((self.size, self.size), library.Resampling.BILINEAR, box))
        return normalised(pixels, mirror=self.train and bool(torch.rand(()) < 0.5)), label


def _crop(whole: tuple[int, int], size: int, *, train: bool) -> tuple[float, float, float, float]:
    """The square (left, top, right, bottom) of a picture of ``whole`` width and height: the middle, or
    anywhere of any size where ``train``."""
    short = min(whole)
    scale, across, down = 1 / LARGER, 0.5, 0.5
    if train:
        share, across, down = torch.rand(3).tolist()
        scale = LEAST_SCALE + (1 - LEAST_SCALE) * share
    side = max(1.0, scale * short)
    left, top = (whole[0] - side) * across, (whole[1] - side) * down
    return left, top, left + side, top + side


def normalised(pixels: np.ndarray, *, mirror: bool = False) -> torch.Tensor:
    """f32 [3, H, W] of ImageNet's mean and deviation, of u8 [H, W, 3]."""
    x = torch.from_numpy(pixels.astype(np.float32) / 255).movedim(-1, 0)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    return x.flip(-1) if mirror else x


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        raise EspalierError(f"no folder '{place}'")
    return [path for path in place.iterdir() if path.is_dir()]
