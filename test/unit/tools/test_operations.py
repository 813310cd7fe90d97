"""The tool that tries PyTorch's own samples: a few operations, and what it says of faults."""

from __future__ import annotations

import pytest
import torch
from espalier.tools.operations import __main__ as command
from espalier.tools.operations.child import attempt, compare
from espalier.tools.operations.samples import names, samples
from torch import nn

FEW = ("add", "argmax", "cumsum", "sort", "nn.functional.conv2d", "clamp", "where")


@pytest.mark.slow
def test_samples_are_computed_or_refused() -> None:
    outcomes = []
    for name in FEW:
        for sample in samples(name, torch.float32, 1):
            outcome, text = attempt(sample)
            outcomes.append(outcome)
            assert outcome in ("equal", "refused", "skipped"), f"{sample.label}: {text}"
    assert outcomes.count("equal") > len(FEW)


@pytest.mark.slow
def test_what_draws_numbers_is_left_out() -> None:
    assert "add" in names()
    assert not any("rand" in name or "dropout" in name for name in names())


def test_differences_are_told() -> None:
    one = torch.ones(3)
    assert compare(one, one.clone()) == ("equal", "")
    assert compare(one * 1.01, one)[0] == "wrong"
    assert "torch.float32 (3,), PyTorch gives torch.float64" in compare(one, one.double())[1]
    assert "other infinities or NaN" in compare(one, torch.tensor([1.0, torch.nan, 1.0]))[1]
    assert compare((one, one), one)[1] == "2 outputs, PyTorch gives 1"


def test_a_process_that_dies_is_one_fault(monkeypatch, tmp_path) -> None:
    child = tmp_path / "child.py"
    child.write_text('import os, sys, json\n'
                     'if sys.argv[1] == "0":\n'
                     '    print(json.dumps({"begin": "a"}), flush=True)\n'
                     '    os._exit(9)\n'
                     'print(json.dumps({"label": "b", "outcome": "equal", "text": ""}), flush=True)\n')
    popen = command.subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen", lambda arguments, **options: popen(
        [arguments[0], str(child), *arguments[3:]], **options))
    results = list(command.try_all("a,b", "float32", 1, 20.0))
    assert [(result.label, result.outcome) for result in results] == [("a", "crash"), ("b", "equal")]


def test_a_process_that_hangs_is_ended(monkeypatch, tmp_path) -> None:
    child = tmp_path / "child.py"
    child.write_text('import sys, json, time\n'
                     'if sys.argv[1] == "0":\n'
                     '    print(json.dumps({"begin": "a"}), flush=True)\n'
                     '    time.sleep(60)\n')
    popen = command.subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen", lambda arguments, **options: popen(
        [arguments[0], str(child), *arguments[3:]], **options))
    assert [result.outcome for result in command.try_all("a", "float32", 1, 1.0)] == ["hang"]


@pytest.mark.slow
def test_modules_hold_no_tensors() -> None:
    sample = next(iter(samples("add", torch.float32, 1)))
    assert isinstance(sample.module, nn.Module)
    assert not list(sample.module.parameters())
