"""What users hand to a model that is no array of the right kind: one line."""

from __future__ import annotations

from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError, printable
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.memory import zeroed
from torch import nn

X = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    return espalier.compile(nn.Linear(3, 2).eval(), (torch.ones(1, 3),))


@pytest.mark.parametrize(("value", "message"), [
    (torch.ones(1, 3, device="meta"), "expected a dense tensor .*, found strided .*meta"),
    (torch.ones(1, 3).to_sparse(), "expected a dense tensor .*, found sparse_coo"),
    (torch.ones(1, 3).to_sparse_csr(), "expected a dense tensor .*, found sparse_csr"),
    ([[1.0], [2.0, 3.0]], "expected a dense tensor .*, found list"),
    ([1.0, 2.0, 3.0], "input 'input_0': expected 1x3 float32, found 3 float64"),
    ("text", "input 'input': expected a tensor, found str"),
    (None, "input 'input': expected a tensor, found NoneType"),
    (X.astype(">f4"), "expected 1x3 float32, found 1x3 big-endian float32"),
    (torch.ones(1, 3).double(), "expected 1x3 float32, found 1x3 float64")])
def test_calls(model: CompiledModel, value: Any, message: str) -> None:
    with pytest.raises(EspalierError, match=message) as caught:
        model(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("inputs", "message"), [
    ([torch.ones(1, 3)], "input 'input_0': expected a numpy array, found Tensor; tensors and lists:"),
    ([[[1.0, 2.0, 3.0]]], "input 'input_0': expected a numpy array, found list"),
    (X, "expected a list of arrays, found ndarray"),
    (torch.ones(1, 3), "expected a list of arrays, found Tensor"),
    (None, "expected a list of arrays, found NoneType"), ([], "expected 1 inputs, found 0"),
    ([X, X], "expected 1 inputs, found 2"), ([X.astype(">f4")], "found 1x3 big-endian float32")])
def test_runs(model: CompiledModel, inputs: Any, message: str) -> None:
    with pytest.raises(EspalierError, match=message) as caught:
        model.run(inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("threads", "message"), [
    (1.5, "expected a whole number of threads, found 1.5"), ("2", "a whole number of threads, found '2'"),
    (True, "found True"), (None, "found None"),
    (-1, "expected a number of threads, or 0 for one a fast processor; found -1"),
    (257, "expected at most 256 threads, found 257"),
    (10**12, "at most 256 threads")])
def test_threads(model: CompiledModel, threads: Any, message: str) -> None:
    for call in (model.run, model.profile):
        with pytest.raises(EspalierError, match=message):
            call([X], threads)


def test_numbers_of_numpy_are_numbers(model: CompiledModel) -> None:
    assert model.run([X], np.int64(2))[0].shape == (1, 2)


@pytest.mark.parametrize("count", [1 << 60, 1 << 70])
def test_absurd_memory(count: int) -> None:
    with pytest.raises(EspalierError, match=f"out of memory: the system has no {count} bytes"):
        zeroed(count)


def test_control_characters() -> None:
    assert printable("a\x1b[31mb\r\x00\x9bc\u202ed\té\n") == "a?[31mb??" + "?c?d\té\n"
    assert str(EspalierError("layer '\x1b]0;x\x07'")) == "layer '?]0;x?'"
