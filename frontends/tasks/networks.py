"""Small networks that train in minutes, for the tasks of this folder: dense, initialised by torch."""

from __future__ import annotations

from collections.abc import Sequence

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
