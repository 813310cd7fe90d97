"""S3D (Xie et al., 2018): Inception blocks of split 3-D convolutions, with torchvision's state-dict names."""

from __future__ import annotations

import torch
from torch import nn

Sizes = int | tuple[int, int, int]

# channels; filters of the branches: 1x1x1; 1x1x1 and 3x3x3; 1x1x1 and 3x3x3; pool and 1x1x1
BLOCKS = (
    (192, 64, 96, 128, 16, 32, 32), (256, 128, 128, 192, 32, 96, 64), (480, 192, 96, 208, 16, 48, 64),
    (512, 160, 112, 224, 24, 64, 64), (512, 128, 128, 256, 24, 64, 64), (512, 112, 144, 288, 32, 64, 64),
    (528, 256, 160, 320, 32, 128, 128), (832, 256, 160, 320, 32, 128, 128),
    (832, 384, 192, 384, 48, 128, 128))


def convolution(channels: int, width: int, kernel: Sizes, stride: Sizes = 1,
                padding: Sizes = 0) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    return nn.Sequential(nn.Conv3d(channels, width, kernel, stride, padding, bias=False),
                         nn.BatchNorm3d(width, eps=0.001), nn.ReLU(inplace=True))


def separable(channels: int, width: int, size: int, stride: int = 1) -> nn.Sequential:
    """A 1 x size x size convolution, then a size x 1 x 1 one."""
    around = size // 2
    return nn.Sequential(
        convolution(channels, width, (1, size, size), (1, stride, stride), (0, around, around)),
        convolution(width, width, (size, 1, 1), (stride, 1, 1), (around, 0, 0)))


class InceptionBlock(nn.Module):
    """Four branches whose channels are concatenated."""

    def __init__(self, channels: int, single: int, reduce1: int, width1: int, reduce2: int, width2: int,
                 pooled: int) -> None:
        super().__init__()
        self.branch0 = convolution(channels, single, 1)
        self.branch1 = nn.Sequential(convolution(channels, reduce1, 1), separable(reduce1, width1, 3))
        self.branch2 = nn.Sequential(convolution(channels, reduce2, 1), separable(reduce2, width2, 3))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, padding=1), convolution(channels, pooled, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f32 [N, C, D, H, W] to [N, filters of all branches, D, H, W]."""
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), 1)


class S3D(nn.Module):
    """A separable 7x7x7 stem, nine Inception blocks between pools, a mean, a 1x1x1 classifier.

    The mean is over all that is left of a clip, whatever its size; torchvision's 2x7x7 pool is the same for
    16 frames of 224 x 224.
    """

    def __init__(self, classes: int = 400) -> None:
        super().__init__()
        blocks = [InceptionBlock(*sizes) for sizes in BLOCKS]
        self.features = nn.Sequential(
            separable(3, 64, 7, 2), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), convolution(64, 64, 1),
            separable(64, 192, 3), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), *blocks[:2],
            nn.MaxPool3d(3, 2, 1), *blocks[2:7], nn.MaxPool3d(2), *blocks[7:])
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Conv3d(1024, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips f32 [N, 3, D, H, W] to logits f32 [N, classes]."""
        return torch.flatten(self.classifier(self.avgpool(self.features(x))), 1)


def s3d() -> nn.Module:
    """S3D for Kinetics' 400 classes, 8.3 million weights."""
    return S3D()
