"""Layers of which nothing is left cost nothing but their bias."""

from __future__ import annotations

import espalier
import numpy as np
import pytest
import torch
from espalier.sparse_dialect.schemes import Empty
from espalier.sparse_dialect.storage import Fkw
from torch import nn


def test_nothing_but_zeros() -> None:
    weight = np.zeros((4, 6, 3, 3), np.float32)
    assert Empty.detect(weight) == Empty()
    assert not Empty.project(np.ones_like(weight)).any()
    packed = Fkw(1, 2).pack(weight, Empty())
    assert packed.stored == 0
    np.testing.assert_array_equal(packed.unpack(), weight)
    weight[3, 5, 2, 2] = 1
    assert Empty.detect(weight) is None
    assert Empty.why_not(weight) == "a weight is left"


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.Conv2d(70, 24, 3, padding=1), (2, 70, 14, 14)), (nn.Conv2d(16, 24, 1), (1, 16, 9, 9)),
    (nn.Conv2d(16, 24, 3, groups=4), (1, 16, 9, 9)), (nn.Linear(30, 40), (1, 30)),
    (nn.Linear(30, 40), (20, 30))])
def test_an_emptied_layer_gives_its_bias_and_multiplies_nothing(layer: nn.Module,
                                                                shape: tuple[int, ...]) -> None:
    module, x = nn.Sequential(layer, nn.ReLU()).eval(), torch.randn(shape)
    with torch.no_grad():
        module[0].weight.zero_()
        compiled = espalier.compile(module, (x,))
        np.testing.assert_allclose(compiled(x), module(x), atol=1e-6)
    record = compiled.layers[0]
    assert (record.scheme, record.kernel, record.macs_packed) == ("empty", "sparse", 0)
