"""Calls on tensors as they lie in memory, and which go by arrays instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from espalier import compile as compile_
from espalier.errors import EspalierError
from espalier.runtime.compiled_model import CompiledModel
from torch._subclasses.fake_tensor import FakeTensorMode


class _Two(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + y, x * 2


X, Y = torch.arange(20.0).reshape(4, 5), torch.ones(4, 5)


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    return compile_(_Two().eval(), (X, Y))


@pytest.fixture
def by_arrays(model: CompiledModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every call that goes by arrays."""
    calls: list[int] = []
    own = model.run

    def run(*arguments: Any) -> Any:
        calls.append(1)
        return own(*arguments)

    monkeypatch.setattr(model, "run", run)
    return calls


def test_plain_tensors_go_as_they_are(model: CompiledModel, by_arrays: list[int]) -> None:
    total, twice = model(X, Y)
    assert torch.equal(total, X + Y)
    assert torch.equal(twice, X * 2)
    assert not by_arrays
    assert total.data_ptr() != model(X, Y)[0].data_ptr()  # each call has its own


@pytest.mark.parametrize("other", [
    Y.t().contiguous().t(), torch.nn.Parameter(Y), torch._neg_view(-Y), Y.numpy()],
    ids=["strided", "parameter", "negated", "array"])
def test_others_go_by_arrays(model: CompiledModel, by_arrays: list[int], other: Any) -> None:
    total, _ = model(X, other)
    assert torch.equal(torch.as_tensor(total), X + 1)
    assert by_arrays


def test_a_gradient_is_not_asked_for(model: CompiledModel) -> None:
    assert not model(X, Y.clone().requires_grad_())[0].requires_grad


@pytest.mark.parametrize("bad", [Y.double(), Y[:3], Y.to_sparse(), Y.to("meta")],
                         ids=["dtype", "shape", "layout", "device"])
def test_what_does_not_fit_is_said(model: CompiledModel, bad: torch.Tensor) -> None:
    with pytest.raises(EspalierError, match="expected"):
        model(X, bad)


def test_a_default_device_of_nobodys_changes_nothing(model: CompiledModel) -> None:
    with torch.device("meta"):
        assert torch.equal(model(X, Y)[0], X + Y)


def test_tensors_without_memory_are_not_written_to(model: CompiledModel) -> None:
    with FakeTensorMode(), pytest.raises((EspalierError, RuntimeError, AssertionError)):
        model(X, Y)[0].tolist()
    with pytest.raises((EspalierError, RuntimeError)):
        torch.func.vmap(lambda x: model(x, Y)[0])(X.expand(2, 4, 5).contiguous())
    assert torch.equal(model(X, Y)[0], X + Y)
