"""C3D (Tran et al., 2015): eight 3x3x3 convolutions, with the state-dict names of its PyTorch ports."""

from __future__ import annotations

import torch
from torch import nn


def convolution(channels: int, width: int) -> nn.Conv3d:
    return nn.Conv3d(channels, width, 3, padding=1)


class C3D(nn.Module):
    """Five stages of 3x3x3 convolutions, each ended by a max pool, then three linear layers."""

    def __init__(self, classes: int = 487) -> None:
        super().__init__()
        self.conv1, self.pool1 = convolution(3, 64), nn.MaxPool3d((1, 2, 2))
        self.conv2, self.pool2 = convolution(64, 128), nn.MaxPool3d(2)
        self.conv3a, self.conv3b, self.pool3 = convolution(128, 256), convolution(256, 256), nn.MaxPool3d(2)
        self.conv4a, self.conv4b, self.pool4 = convolution(256, 512), convolution(512, 512), nn.MaxPool3d(2)
        self.conv5a, self.conv5b = convolution(512, 512), convolution(512, 512)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6, self.fc7, self.fc8 = nn.Linear(8192, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)
        self.dropout, self.relu = nn.Dropout(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips f32 [N, 3, 16, 112, 112] to logits f32 [N, classes]."""
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.conv2(x)))
        x = self.pool3(self.relu(self.conv3b(self.relu(self.conv3a(x)))))
        x = self.pool4(self.relu(self.conv4b(self.relu(self.conv4a(x)))))
        x = self.pool5(self.relu(self.conv5b(self.relu(self.conv5a(x)))))
        x = self.dropout(self.relu(self.fc6(torch.flatten(x, 1))))
        x = self.dropout(self.relu(self.fc7(x)))
        return self.fc8(x)


def c3d() -> nn.Module:
    """C3D for Sports-1M's 487 classes, 80 million weights."""
    return C3D()
