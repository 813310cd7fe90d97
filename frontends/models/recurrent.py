"""The recurrent networks of speech recognition on TIMIT: two layers of 1024 units over 153 features a frame
(GRIM's; sizes of its authors' code, papers.md, section 3.4), without the softmax layer."""

from __future__ import annotations

import torch
from torch import nn

FEATURES, HIDDEN, LAYERS = 153, 1024, 2


class Recurrent(nn.Module):
    """A stack of recurrent layers."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, LAYERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames f32 [T, N, 153] to the last layer's states f32 [T, N, 1024]."""
        return self.rnn(x)[0]


def gru() -> nn.Module:
    """GRU, 9.9 million weights."""
    return Recurrent(nn.GRU)


def lstm() -> nn.Module:
    """LSTM, 13.2 million weights."""
    return Recurrent(nn.LSTM)
