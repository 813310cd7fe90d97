"""``torch.compile(backend="espalier")``: results, frozen weights that are watched, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from espalier import EspalierError
from espalier.frontends.models import reference_model
from espalier.frontends.torch import backend
from torch import nn


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def compilations() -> Iterator[mock.Mock]:
    with mock.patch.object(backend, "compile_model", wraps=backend.compile_model) as compile_model:
        yield compile_model


def small() -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    return nn.Sequential(*layers).eval()


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.slow
def test_pruned_resnet18(compilations: mock.Mock) -> None:
    module, _ = reference_model("resnet18", "pattern:entries=4,patterns=8,connectivity=3.6,linear=8")
    fast = torch.compile(module, backend="espalier", options={"threads": 2})
    x = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        same(fast(x), module(x))
        same(fast(2 * x), module(2 * x))
    assert compilations.call_count == 1


def test_weights_are_frozen(compilations: mock.Mock) -> None:
    """The compiled layers are there, so weights were constants; a changed weight is compiled again."""
    module, x = small(), torch.randn(1, 3, 9, 11)
    fast = torch.compile(module, backend="espalier")
    with torch.no_grad():
        same(fast(x), module(x))
        module[0].weight.mul_(2)
        same(fast(x), module(x))
        module[1].running_mean.add_(1)
        same(fast(x), module(x))
    assert compilations.call_count == 3


def test_other_sizes_are_compiled_again() -> None:
    module = small()
    fast = torch.compile(module, backend="espalier")
    with torch.inference_mode():
        for height in (9, 10, 12, 9):
            x = torch.randn(1, 3, height, 7)
            same(fast(x), module(x))


def test_graph_breaks_and_python_around_graphs() -> None:
    def function(x: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        y = x * scale
        torch._dynamo.graph_break()
        return y.relu(), y.sum()

    x = torch.randn(3, 4)
    found = torch.compile(function, backend="espalier")(x, 0.5)
    for got, expected in zip(found, function(x, 0.5), strict=True):
        same(got, expected)


def test_dense_mode() -> None:
    module, x = small(), torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        same(torch.compile(module, backend="espalier", options={"sparse": False})(x), module(x))


def gradients() -> None:
    torch.compile(small(), backend="espalier")(torch.randn(1, 3, 9, 11))


def unknown_option() -> None:
    torch.compile(small(), backend="espalier", options={"speed": 11})(torch.randn(1, 3, 9, 11))


@torch.no_grad()
def training_mode() -> None:
    torch.compile(small().train(), backend="espalier")(torch.randn(1, 3, 9, 11))


@torch.no_grad()
def unsupported_operation() -> None:
    torch.compile(torch.linalg.eigvalsh, backend="espalier")(torch.eye(3))


@pytest.mark.parametrize(("call", "message"), [
    (gradients, "under torch.no_grad()"), (unknown_option, "unknown option 'speed'"),
    (training_mode, "call .eval()"), (unsupported_operation, "linalg_eigh")])
def test_refusals_say_why(call: Callable[[], None], message: str) -> None:
    with pytest.raises((EspalierError, torch._dynamo.exc.BackendCompilerFailed)) as error:
        call()
    assert message in str(error.value)
