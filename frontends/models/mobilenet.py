"""MobileNet-V2 (Sandler et al., 2018), with torchvision's state-dict names."""

from __future__ import annotations

import torch
from torch import nn

# expansion, channels, blocks, stride of the first block (the paper's table 2)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
          (6, 320, 1, 1))


def convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; with a shortcut where the shape stays."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [convolution(channels, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(*expand, convolution(hidden, hidden, 3, stride, groups=hidden),
                                  nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width))
        self.keeps_shape = stride == 1 and channels == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f32 [N, C, H, W] to [N, width, H/stride, W/stride]."""
        return x + self.conv(x) if self.keeps_shape else self.conv(x)


class MobileNetV2(nn.Module):
    """A strided 3x3 stem, 17 inverted residuals, a 1x1 head, global average pool, one linear layer."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 32, 3, 2)]
        channels = 32
        for expansion, width, blocks, stride in STAGES:
            for position in range(blocks):
                layers.append(InvertedResidual(channels, width, 1 if position else stride, expansion))
                channels = width
        layers.append(convolution(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images f32 [N, 3, H, W] to logits f32 [N, classes]."""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def mobilenet_v2() -> nn.Module:
    """MobileNet-V2 of width 1, 3.5 million weights."""
    return MobileNetV2()
