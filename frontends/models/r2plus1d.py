"""R(2+1)D-18 (Tran et al., 2018): ResNet-18 whose 3x3x3 convolutions are split into 1x3x3 and 3x1x1, with
torchvision's state-dict names."""

from __future__ import annotations

import torch
from torch import nn


def split_convolution(channels: int, width: int, middle: int, stride: int) -> nn.Sequential:
    """1x3x3 to ``middle`` channels, batch norm, ReLU, 3x1x1 to ``width``."""
    return nn.Sequential(
        nn.Conv3d(channels, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle), nn.ReLU(inplace=True),
        nn.Conv3d(middle, width, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False))


class SplitBlock(nn.Module):
    """Two split convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        middle = channels * width * 27 // (channels * 9 + 3 * width)  # as many weights as a 3x3x3 kernel
        self.conv1 = nn.Sequential(split_convolution(channels, width, middle, stride), nn.BatchNorm3d(width),
                                   nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(split_convolution(width, width, middle, 1), nn.BatchNorm3d(width))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f32 [N, C, D, H, W] to [N, width, D/stride, H/stride, W/stride]."""
        y = self.conv2(self.conv1(x))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class R2Plus1D(nn.Module):
    """A split 7x7 stem, four stages of two blocks, global average pool, one linear layer."""

    def __init__(self, classes: int = 400) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(45),
            nn.ReLU(inplace=True), nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(64), nn.ReLU(inplace=True))
        self.layer1 = _stage(64, 64, 1)
        self.layer2 = _stage(64, 128, 2)
        self.layer3 = _stage(128, 256, 2)
        self.layer4 = _stage(256, 512, 2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips f32 [N, 3, D, H, W] to logits f32 [N, classes]."""
        x = self.stem(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(channels: int, width: int, stride: int) -> nn.Sequential:
    """Two blocks; the first one strides, and projects its shortcut where the shape changes."""
    shortcut = None
    if stride != 1:
        shortcut = nn.Sequential(nn.Conv3d(channels, width, 1, stride, bias=False), nn.BatchNorm3d(width))
    return nn.Sequential(SplitBlock(channels, width, stride, shortcut), SplitBlock(width, width, 1, None))


def r2plus1d_18() -> nn.Module:
    """R(2+1)D-18 for Kinetics' 400 classes, 31.5 million weights."""
    return R2Plus1D()
