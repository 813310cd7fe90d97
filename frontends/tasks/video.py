"""UCF101 (Soomro et al. 2012): videos of 101 kinds of actions, split by the lists that come with it."""

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

FOLDER = "UCF-101"
LISTS = "ucfTrainTestlist"
SHORT_SIDE = 128 / 112  # of a frame, over the crop's
MEAN, DEVIATION = 0.45, 0.25
VALIDATION = 10  # one video in so many of the training list

Item = tuple[Path, int]


def ucf101(folder: str | None = None, split: int = 1, frames: int = 16, size: int = 112,
           batch: int = 16) -> Task:
    """Batches of (x f32 [N, 3, frames, size, size], class i64 [N]); ``folder`` (default: UCF-101 below
    ``$ESPALIER_DATA``) holds the videos in a folder a class, and the lists in ucfTrainTestlist, in it or
    beside it."""
    place = Path(folder) if folder else data_folder(FOLDER, "unpack UCF101 and its lists there")
    lists = next((path for path in (place / LISTS, place.parent / LISTS) if path.is_dir()), None)
    if lists is None:
        raise EspalierError(f"no folder '{LISTS}' in or beside '{place}'")
    classes = {name: int(number) - 1 for number, name in _rows(lists / "classInd.txt", 2)}
    known = [(place / name, int(number) - 1)
             for name, number in _rows(lists / f"trainlist{split:02d}.txt", 2)]
    test = [(place / row[0], _class_of(row[0], classes, lists))
            for row in _rows(lists / f"testlist{split:02d}.txt", 1)]
    train = [item for at, item in enumerate(known) if at % VALIDATION or len(known) == 1]
    validation = known[::VALIDATION]

    def loader(items: Sequence[Item], *, shuffled: bool = False) -> DataLoader[tuple[torch.Tensor, int]]:
        return DataLoader(Clips(items, frames, size, train=shuffled), batch, shuffle=shuffled)

    return Task(loader(train, shuffled=True), loader(validation), loader(test), loss=smoothed_cross_entropy,
                name="accuracy")


class Clips(Dataset[tuple[torch.Tensor, int]]):
    """(x f32 [3, frames, size, size], class): neighbouring frames from the middle of each video, or from
    anywhere, cropped anywhere and mirrored, by torch's generator, where ``train``."""

    def __init__(self, items: Sequence[Item], frames: int, size: int, *, train: bool = False) -> None:
        self.items, self.frames, self.size, self.train = list(items), frames, size, train

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        path, label = self.items[at]
        short = round(SHORT_SIDE * self.size)
        pictures = decoded(path, short)
        when, down, across, mirrored = torch.rand(4).tolist() if self.train else (0.5, 0.5, 0.5, 1.0)
        begin = round(when * max(len(pictures) - self.frames, 0))
        chosen = np.arange(begin, begin + self.frames)
        chosen = np.minimum(chosen, len(pictures) - 1)  # short ones stand still
        top = round(down * (pictures.shape[1] - self.size))
        left = round(across * (pictures.shape[2] - self.size))
        cut = pictures[chosen, top : top + self.size, left : left + self.size]
        x = torch.from_numpy((cut.astype(np.float32) / 255 - MEAN) / DEVIATION).movedim(-1, 0)
        return (x.flip(-1) if mirrored < 0.5 else x), label


def decoded(path: Path, short: int) -> np.ndarray:
    """All frames of a video, u8 [T, H, W, 3], the shorter side ``short``."""
    av = optional("av", "reading videos")
    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            scale = short / min(stream.width, stream.height)
            width, height = round(scale * stream.width), round(scale * stream.height)
            frames = [frame.to_ndarray(width=width, height=height, format="rgb24")
                      for frame in file.decode(stream)]
    except Exception as error:  # damaged videos fail in many ways inside FFmpeg
        raise EspalierError(f"cannot read the video '{path}': {error}") from error
    if not frames:
        raise EspalierError(f"{path}: a video without frames")
    return np.stack(frames)


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The lines of a list, split at spaces; ``EspalierError`` for one of another form."""
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
    for number, row in enumerate(rows, 1):
        if len(row) < columns or (columns > 1 and not any(part.isdecimal() for part in (row[0], row[-1]))):
            raise EspalierError(f"{path}:{number}: expected {columns} words, found '{' '.join(row)}'")
    if not rows:
        raise EspalierError(f"{path}: an empty list")
    return rows


def _class_of(name: str, classes: dict[str, int], lists: Path) -> int:
    """The class of ``Archery/v_Archery_g01_c01.avi``: its folder's."""
    folder = name.partition("/")[0]
    if folder not in classes:
        raise EspalierError(f"{lists}: class '{folder}' is not in classInd.txt")
    return classes[folder]
