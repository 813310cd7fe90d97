"""Small networks that train in minutes, for the tasks of this folder: dense, initialised by torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def vgg(widths: Sequence[int] = (8, 8, 16, 16, 32, 32), classes: int = 10) -> nn.Sequential:
    """Six 3x3 convolutions with batch norm in three stages, for 28 x 28 pictures of one channel."""
    layers: list[nn.Module] = []
    before = 1
    for number, width in enumerate(widths):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number % 2 else []
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(before * 9, classes))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where sizes change."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        same = stride == 1 and before == width
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def resnet(width: int = 16, classes: int = 10) -> nn.Sequential:
    """A convolution and three residual blocks of 1, 2 and 4 times ``width``, for 28 x 28 pictures."""
    return nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                         Residual(width, width, 1), Residual(width, 2 * width, 2),
                         Residual(2 * width, 4 * width, 2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def video_net(widths: Sequence[int] = (16, 32, 32, 64), classes: int = 50) -> nn.Sequential:
    """Four 3x3x3 convolutions with batch norm, for clips of 8 frames of 20 x 20 pixels."""
    layers: list[nn.Module] = []
    before = 1
    pools = {0: nn.MaxPool3d((1, 2, 2)), 1: nn.MaxPool3d(2)}
    for number, width in enumerate(widths):
        layers += [nn.Conv3d(before, width, 3, padding=1, bias=False), nn.BatchNorm3d(width), nn.ReLU()]
        layers += [pools[number]] if number in pools else []
        before = width
    return nn.Sequential(*layers, nn.AvgPool3d((1, 2, 2)), nn.Flatten(), nn.Dropout(0.2),
                         nn.Linear(before * 16, classes))


class Phones(nn.Module):
    """Letters i64 [T, N] -> embedding -> bidirectional GRU -> logits f32 [T, N, phonemes + 1] for CTC."""

    def __init__(self, phonemes: int = 39, hidden: int = 192, layers: int = 1) -> None:
        super().__init__()
        self.letters = nn.Embedding(27, 32)
        self.gru = nn.GRU(32, hidden, layers, bidirectional=True)
        self.out = nn.Linear(2 * hidden, phonemes + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(self.letters(x))[0])
