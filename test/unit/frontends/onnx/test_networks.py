"""Networks that torch exports to ONNX: the same layers, schemes and kept work as on PyTorch's own way."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.frontends import load_model
from espalier.frontends.pruning.project import prune_module
from torch import nn

pytestmark = [pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
              for name in ("onnx", "onnxruntime", "onnxscript")]  # not imported before a test runs
CNN = "pattern:entries=4,patterns=8,connectivity=3.6"


class UNet(nn.Module):
    """Two levels, with transposed convolutions of both usual kinds on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in ((3, 16), (16, 32), (32, 16)))
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.larger = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.first(x)
        coarse = self.second(nn.functional.max_pool2d(fine, 2))
        return self.head(self.larger(self.third(torch.cat([self.up(coarse), fine], 1))))


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al., 2016, section 3.2)."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.one(x), self.three(x)], 1))


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1 without its last fire modules."""
    return nn.Sequential(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
                         Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
                         Fire(128, 32, 128), nn.Dropout(), nn.Conv2d(256, 100, 1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten())


def network(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    if name in ("unet", "squeezenet"):
        torch.manual_seed(0)
        module = UNet() if name == "unet" else squeezenet()
        prune_module(module, CNN)
        return module.eval(), (torch.randn(1, 3, 32, 32),)
    module, inputs = load_model(name, "bcr:rate=8" if name in ("gru", "lstm") else CNN)
    if name in ("mobilenet_v2", "resnet18"):
        inputs = tuple(x[..., :64, :64] for x in inputs)
    return module, tuple(x.detach().clone() for x in inputs)  # type: ignore[return-value]


def exported(module: nn.Module, inputs: Any, path: Path, opset: int) -> Path:
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, inputs, str(path), dynamo=True, opset_version=opset)
    finally:
        logging.disable(logging.NOTSET)
    return path


def kept(model: Any) -> list[tuple[Any, ...]]:
    return [(layer.op, layer.scheme, layer.kernel, layer.macs_packed) for layer in model.layers]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "squeezenet", "mobilenet_v2", "resnet18", "gru", "lstm"])
def test_networks(name: str, tmp_path: Path) -> None:
    """In both opsets; what PyTorch's own way gives is compiled once."""
    module, inputs = network(name)
    ours = espalier.compile(module, inputs)
    x = [value.numpy() for value in inputs]
    for opset in (18, 20):
        theirs = espalier.compile(exported(module, inputs, tmp_path / f"{name}{opset}.onnx", opset), inputs)
        assert kept(theirs) == kept(ours), opset
        for found, expected in zip(theirs.run(x), ours.run(x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert theirs.check() <= 1e-5, opset  # of ONNX Runtime
