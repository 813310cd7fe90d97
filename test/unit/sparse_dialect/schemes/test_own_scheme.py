"""The recipe "your own scheme in one file": ``support/own_scheme.py`` is all that the compiler is told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import espalier
import numpy as np
import pytest
import torch
from espalier.sparse_dialect.dialect import register_dialect, schemes
from espalier.sparse_dialect.dialect.dialect import Sparse
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.schedule.detection import explain_scheme
from espalier.sparse_dialect.schemes import SCHEMES, Unstructured
from espalier.sparse_dialect.storage.choice import convolution_storage
from torch import nn


@pytest.fixture(scope="module")
def own() -> Iterator[ModuleType]:
    """The plug-in, imported for these tests alone."""
    yield importlib.import_module("support.own_scheme")
    del SCHEMES["shift"], sys.modules["support.own_scheme"]
    Sparse.attributes.remove(schemes._classes.pop("shift"))


def shifted(own: ModuleType, filters: int = 32, channels: int = 8) -> np.ndarray:
    """A 5x5 weight whose filters keep one tap each, of more taps than a pattern library has."""
    weight = np.random.default_rng(0).standard_normal((filters, channels, 5, 5)).astype(np.float32)
    pruned: np.ndarray = own.Shift.project(weight)
    return pruned


def test_it_is_projected_and_detected(own: ModuleType) -> None:
    weight = shifted(own)
    found = explain_scheme(weight)
    assert isinstance(found.scheme, own.Shift)
    assert "not pattern: " in found.reason
    weight[3, 0] = 1
    assert own.Shift.why_not(weight) == "filter 3 keeps several taps"
    assert explain_scheme(weight).scheme == Unstructured()
    assert "not shift: filter 3 keeps several taps" in explain_scheme(weight).reason


def test_its_attribute_follows_from_its_fields(own: ModuleType) -> None:
    with ir.Context() as context:
        register_dialect(context)
        attribute = schemes.scheme_attribute(own.Shift((4, 0, 24)))
        assert str(attribute) == "#sparse.shift<[4, 0, 24]>"
        parsed = ir.Attribute.parse("#sparse.shift<[4, 0, 24]>")
        assert parsed == attribute
        assert schemes.scheme_from(parsed) == own.Shift((4, 0, 24))
    assert "irdl.attribute @shift" in espalier.sparse_dialect.irdl_text()


def test_it_is_packed_by_a_storage_that_covers_it(own: ModuleType) -> None:
    weight = shifted(own)
    scheme = own.Shift.detect(weight)
    packed = convolution_storage(scheme, weight.shape, 1, 1, 8).pack(weight, scheme)
    assert packed.storage.name == "fkw"
    assert packed.stored == np.count_nonzero(weight)
    np.testing.assert_array_equal(packed.unpack(), weight)


def test_it_compiles_runs_sparse_and_computes_what_pytorch_does(own: ModuleType) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(8, 32, 5, padding=2), nn.ReLU()).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(shifted(own)))
    x = torch.randn(1, 8, 12, 12)
    compiled = espalier.compile(module, (x,))
    with torch.no_grad():
        assert torch.allclose(torch.as_tensor(compiled(x)), module(x), atol=1e-4)
    (layer,) = compiled.layers
    assert (layer.scheme, layer.kernel) == ("shift", "sparse")
