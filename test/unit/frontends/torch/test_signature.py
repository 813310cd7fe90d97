"""Inputs and outputs in the module's own structure: tuples, lists, dicts, keywords, constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import espalier
import numpy as np
import pytest
import torch
from espalier import EspalierError
from torch import nn
from torch.utils._pytree import tree_flatten

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
MASK = X > 0


class Pair(NamedTuple):
    """An answer of two tensors."""

    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Record:
    """A tensor and what may be missing."""

    first: torch.Tensor
    second: torch.Tensor | None = None


torch.export.register_dataclass(Record, serialized_type_name="espalier.test.Record")


class Model(nn.Module):
    """A function of nested tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any, other: Any = None, scale: float = 1.0) -> Any:
        return self.function(x, other, scale)


CALLS: list[tuple[Callable[..., Any], Any]] = [
    (lambda x, other, scale: x * scale, X),
    (lambda x, other, scale: x * scale, X.numpy()),
    (lambda x, other, scale: x * scale, (X, None)),
    (lambda x, other, scale: x.masked_fill(other, -1) * scale, (X, MASK, 2.0)),
    (lambda x, other, scale: x * scale, {"x": X}),
    (lambda x, other, scale: x + other, {"other": 2 * X, "x": X}),
    (lambda x, other, scale: x[0] + x[1][0] * scale, ((X, [X]), None, 3)),
    (lambda x, other, scale: x["a"] - x["b"]["c"], ({"a": X, "b": {"c": 2 * X}},)),
    (lambda x, other, scale: {"sum": x + other, "rest": (x, [None, x * 2, 4])}, (X, X)),
    (lambda x, other, scale: Pair(x + 1, x * 2), (X,)),
    (lambda x, other, scale: (x.sort(1), x.max(1)), (X,)),
    (lambda x, other, scale: Record(x.first * x.second), (Record(X, X),)),
    (lambda x, other, scale: (x,), (X,)),
    (lambda x, other, scale: [x + 1, x + 1], (X,)),
]


def same(found: Any, expected: Any) -> None:
    found_leaves, found_spec = tree_flatten(found)
    leaves, spec = tree_flatten(expected)
    assert found_spec == spec
    for value, wanted in zip(found_leaves, leaves, strict=True):
        if isinstance(wanted, torch.Tensor):
            torch.testing.assert_close(torch.as_tensor(value), wanted)
        else:
            assert value == wanted


@pytest.mark.parametrize(("function", "example"), CALLS)
def test_structure(function: Callable[..., Any], example: Any, tmp_path: Path) -> None:
    """As in the example; and again from the model file."""
    module = Model(function)
    compiled = espalier.compile(module, example)
    compiled.save(tmp_path / "model.esp")
    args, keywords = ((), example) if isinstance(example, dict) else (
        (example if isinstance(example, tuple) else (example,)), {})
    expected = module(*(torch.as_tensor(a) if isinstance(a, np.ndarray) else a for a in args), **keywords)
    for model in (compiled, espalier.load(str(tmp_path / "model.esp"))):
        assert model.check() < 1e-5
        same(model(*args, **keywords), expected)


def test_by_name_by_position_or_flat() -> None:
    compiled = espalier.compile(Model(lambda x, other, scale: x + other[0] * scale), (X, (2 * X,), 2.0))
    expected = X + 4 * X
    for answer in (compiled(X, (2 * X,), 2.0), compiled(X, (2 * X,)), compiled(other=[2 * X], x=X),
                   compiled(X, other=(2 * X,), scale=2.0), compiled(X, 2 * X)):
        torch.testing.assert_close(answer, expected)
    assert isinstance(compiled(X.numpy(), ((2 * X).numpy(),)), np.ndarray)


@pytest.mark.parametrize(("args", "keywords", "message"), [
    ((X,), {}, "input 'other' is missing; expected x, other, scale"),
    ((X, {"a": X}, 3.0), {}, "input 'scale': the model was compiled for 2.0, found 3.0"),
    ((X, {"b": X}), {}, "input 'other': expected a dict of a, found a dict of b"),
    ((X, {"a": None}), {}, "input 'other.a': expected a tensor, found NoneType"),
    ((X, (X,)), {}, "input 'other': expected a dict of a, found 1"),
    ((X,), {"y": X}, "input 'y' is unknown; expected x, other, scale"),
    ((X,), {"x": X}, "input 'x' is given twice"),
    ((X, {"a": X}, 2.0, X), {}, "expected 3 inputs"),
    ((X, {"a": X[:1]}), {}, "expected 2x8 float32, found 1x8 float32"),
])
def test_other_structures_are_one_line(args: tuple[Any, ...], keywords: dict[str, Any], message: str) -> None:
    compiled = espalier.compile(Model(lambda x, other, scale: x + other["a"] * scale), (X, {"a": X}, 2.0))
    with pytest.raises(EspalierError, match=message):
        compiled(*args, **keywords)


def test_exported_programs_keep_their_structure() -> None:
    module = Model(lambda x, other, scale: {"y": x + other[1]})
    with torch.no_grad():
        program = torch.export.export(module, (X,), {"other": (X, 2 * X)})
    compiled = espalier.compile(program)
    same(compiled(X, other=(X, 2 * X)), module(X, (X, 2 * X)))


@pytest.mark.parametrize(("example", "message"), [
    ({1: X}, "expected the names of keyword arguments"), ("x", "expected a tensor, a tuple of arguments"),
    (({1: X},), "expected strings as keys of a dict, found int")])
def test_bad_examples_are_one_line(example: Any, message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        espalier.compile(Model(lambda x, other, scale: x[1] if isinstance(x, dict) else x), example)


def test_a_tensor_given_twice_is_two_inputs() -> None:
    x, y = torch.ones(3), torch.full((3,), 5.0)
    compiled = espalier.compile(Model(lambda a, b, scale: 2 * a + b).eval(), (x, x))
    assert torch.equal(compiled(x, y), torch.full((3,), 7.0))
