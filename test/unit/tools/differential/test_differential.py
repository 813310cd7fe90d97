"""Drawn layers equal PyTorch, or are refused in one clear line; faults of the tool itself are seen.

Longer runs: ``python -m espalier.tools.differential --count 10000``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
from espalier.runtime.c import FLAGS, LIBRARIES, RUNNER, SOURCES
from espalier.tools.differential import __main__ as tool
from espalier.tools.differential.compare import MODES, Outcome, bundled, compare
from espalier.tools.differential.draw import draw
from support.fake_model import SANITIZER_OPTIONS, SANITIZERS

TRIPLE = "x86_64-linux-gnu"


def faults(outcomes: list[Outcome]) -> list[str]:
    return [f"{one.seed}: {one.kind}: {one.words}" for one in outcomes if one.fault]


@pytest.mark.slow
@pytest.mark.parametrize("mode", range(len(MODES)))
def test_some_layers(mode: int) -> None:
    outcomes = compare(range(4 * mode, 4 * mode + 4), mode)
    assert len(outcomes) == 4
    assert not faults(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 400, 20))
def test_many_layers(first: int) -> None:
    """300 of them."""
    outcomes = [one for at in range(first, first + 20, 10) for one in compare(range(at, at + 10))]
    assert len(outcomes) == 20
    assert not faults(outcomes)


def test_the_same_number_gives_the_same_layer() -> None:
    first, again, other = draw(7), draw(7), draw(8)
    assert first.words == again.words
    assert all(torch.equal(a, b) for a, b in zip(first.inputs, again.inputs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first.module.parameters(), again.module.parameters(),
                                                 strict=True))
    assert first.words != other.words


def test_every_choice_is_drawn() -> None:
    words = " ".join(draw(seed).words for seed in range(120))
    for choice in ("conv1d", "conv2d", "conv3d", "linear", "pattern", "connectivity", "bcr", "kgs", "n_m",
                   "unstructured", "dense", "groups 4", "inside", "residual before", "residual after",
                   "pool max", "pool average", "pool global", "norm", "batch 3", "hard_swish"):
        assert choice in words, choice


@pytest.mark.parametrize(("change", "kind"), [
    (lambda y: y * 1.001, "differs"), (lambda y: y + np.nan, "differs"),
    (lambda y: y[..., :-1], "other shape")])
def test_a_wrong_output_is_seen(monkeypatch: pytest.MonkeyPatch, change: object, kind: str) -> None:
    class Wrong:
        def run(self, arrays: list[np.ndarray], threads: int) -> list[np.ndarray]:
            with torch.no_grad():
                return [change(module(*map(torch.from_numpy, arrays)).numpy())]  # type: ignore[operator]

    module = draw(3).module
    monkeypatch.setattr("espalier.tools.differential.compare.compile_model", lambda *_, **__: Wrong())
    assert [one.kind for one in compare([3])] == [kind]


@pytest.mark.parametrize(("error", "kind"), [
    (EspalierError("one clear line"), "refused"), (EspalierError("pass 'x' has a bug: KeyError"), "raised"),
    (EspalierError("two\nlines"), "raised"), (KeyError("x"), "raised KeyError")])
def test_errors_are_judged(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("espalier.tools.differential.compare.compile_model", fails)
    found = compare([3, 4])
    assert [one.seed for one in found] == [3, 4]
    assert all(one.kind.startswith(kind) for one in found)


def test_a_death_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def dies(seeds: list[int], mode: int | None) -> list[Outcome]:
        if 2 in seeds:
            os.kill(os.getpid(), signal.SIGKILL)
        return [Outcome(seed, "equal", "") for seed in seeds]

    monkeypatch.setattr(tool, "compare", dies)
    assert tool.main(["--first", "0", "--count", "10"]) == 1
    assert capsys.readouterr().out.splitlines() == ["2: died with -9: see draw.draw",
                                                    "9 equal, 1 died with -9"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64",
                    reason="needs gcc on x86-64")
@pytest.mark.parametrize("first", range(500, 1000, 50))
def test_the_c_runtime_under_sanitizers(tmp_path: Path, first: int) -> None:
    """500 of them, 25 a model, on 1 and on 3 threads; the recorded outputs are PyTorch's."""
    for at in (first, first + 25):
        module, inputs = bundled([draw(seed) for seed in range(at, at + 25)])
        target = Target.cross(TRIPLE)
        file = compile_file(module, inputs, target, MODES[at % len(MODES)])
        file.write(tmp_path / "m")
        (tmp_path / "net.o").write_bytes(emit("obj", file, target, "net"))
        command = ["gcc", *FLAGS, *SANITIZERS, "-DESPALIER_MODEL=espalier_model_net", str(RUNNER),
                   *map(str, SOURCES), str(tmp_path / "net.o"), "-o", str(tmp_path / "runner"), *LIBRARIES]
        subprocess.run(command, check=True)
        for threads in ("1", "3"):
            result = subprocess.run([tmp_path / "runner", tmp_path / "m", "--check", "--threads", threads],
                                    capture_output=True, text=True, timeout=60,
                                    env={**os.environ, **SANITIZER_OPTIONS})
            assert result.returncode == 0, result.stderr
