"""A convolution and the depthwise one behind it as one kernel: equal to PyTorch, for any shape and thread."""

from __future__ import annotations

import espalier
import numpy as np
import pytest
import torch
from espalier.frontends.pruning.project import prune_module
from espalier.pipelines import cpu
from hypothesis import given, settings
from hypothesis import strategies as st
from support.guarded import check_guarded
from torch import nn


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuses small tensors too, in chunks of few channels."""
    elements = [e + "{large=1 chunk=9000}" if e == "sparse-fuse-depthwise" else e for e in cpu.PREPARE]
    monkeypatch.setattr(cpu, "PREPARE", tuple(elements))


def block(channels: int, filters: int, kernel: int, stride: int, reader_stride: int,
          rate: float) -> nn.Module:
    torch.manual_seed(channels * filters)
    first = nn.Conv2d(channels, filters, kernel, stride, kernel // 2)
    reader = nn.Conv2d(filters, filters, 3, reader_stride, 1, groups=filters)
    entry = nn.Conv2d(channels, channels, 1)  # the first convolution is never cut
    module = nn.Sequential(entry, first, nn.ReLU6(), reader, nn.ReLU()).eval()
    return prune_module(module, f"connectivity:rate={rate}") if rate > 1 else module


def check(module: nn.Module, x: torch.Tensor) -> None:
    compiled = espalier.compile(module, (x,))
    assert [layer.fused_into for layer in compiled.layers] == ["", "3", ""]
    with torch.no_grad():
        expected = module(x).numpy()
    (found,) = compiled.run([x.numpy()])
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    for threads in (2, 3):
        assert np.array_equal(compiled.run([x.numpy()], threads)[0], found)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(channels=st.integers(2, 12), filters=st.sampled_from([4, 6, 10, 16]), kernel=st.sampled_from([1, 3]),
       stride=st.integers(1, 2), reader_stride=st.integers(1, 2), rate=st.sampled_from([1, 2.5]),
       size=st.tuples(st.integers(8, 30), st.integers(8, 30)), batch=st.integers(1, 2))
def test_fused_pairs_equal_pytorch(channels: int, filters: int, kernel: int, stride: int, reader_stride: int,
                                   rate: float, size: tuple[int, int], batch: int) -> None:
    check(block(channels, filters, kernel, stride, reader_stride, rate), torch.randn(batch, channels, *size))


def test_the_pair_is_one_row_of_layer_times() -> None:
    module, x = block(4, 16, 1, 1, 1, 2.5), torch.randn(1, 4, 28, 28)
    compiled = espalier.compile(module, (x,))
    times = dict(zip((layer.name for layer in compiled.layers), compiled.profile([x.numpy()]), strict=False))
    assert times["1"] == 0
    assert times["3"] > 0
    fused = compiled.layers[1]
    assert fused.reason.endswith("; fused into 3")
    assert fused.loads_after > 0


@pytest.mark.slow
def test_a_second_reader_keeps_the_pair_apart() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = block(4, 8, 1, 1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            entry, first, clip, reader, relu = self.layers
            between = clip(first(entry(x)))
            return relu(reader(between)) + between

    x = torch.randn(1, 4, 20, 20)
    compiled = espalier.compile(Both().eval(), (x,))
    assert not any(layer.fused_into for layer in compiled.layers)


def test_nothing_beside_its_buffers_is_touched() -> None:
    x = torch.randn(1, 6, 23, 17)
    compiled = espalier.compile(block(6, 10, 3, 1, 2, 2.5), (x,))
    assert [layer.fused_into for layer in compiled.layers] == ["", "3", ""]
    check_guarded(compiled, [x.numpy()])
    check_guarded(compiled, [x.numpy()], threads=2)
