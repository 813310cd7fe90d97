"""The team of threads: the same bits however threads come and go, and one clear line where there is none."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import threading
import time
import warnings
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.runtime.c import INCLUDE
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.executors import jit, team

SUPPORT = Path(__file__).parents[3] / "support" / "c"
SOURCES = [str(SUPPORT / "test_team.c"),
           *(str(INCLUDE / name) for name in ("team.c", "support.c", "cores.c"))]
compiler = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(compiler is None, reason="no C compiler")


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 20, 3, padding=1), torch.nn.ReLU(),
                                 torch.nn.Conv2d(20, 24, 3), torch.nn.Flatten(), torch.nn.Linear(24 * 49, 9))
    return espalier.compile(module.eval(), (torch.randn(1, 3, 9, 9),))


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as a test asks for, whatever this machine has."""
    monkeypatch.setattr(jit, "cores", lambda: 8)


def _run_for(model: CompiledModel, inputs: list[np.ndarray], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        model.run(inputs, 2)


def example(seed: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).standard_normal((1, 3, 9, 9), dtype=np.float32)]


@needs_compiler
@pytest.mark.parametrize("sanitizer", ["", pytest.param("thread", marks=pytest.mark.slow)])
def test_delays_change_no_value(tmp_path: Path, sanitizer: str) -> None:
    program = tmp_path / "test_team"
    flags = ["-std=c99", "-O1", "-g", "-pthread", f"-I{INCLUDE}", "-DESPALIER_TEAM_DELAY=test_delay"]
    flags += [f"-fsanitize={sanitizer}"] if sanitizer else []
    made = subprocess.run([compiler, *flags, *SOURCES, "-o", program], capture_output=True, text=True)
    if made.returncode and sanitizer:
        pytest.skip("the compiler has no ThreadSanitizer")
    assert made.returncode == 0, made.stderr
    runs = "1000" if sanitizer else "200"
    done = subprocess.run([program, "8", runs, "3"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_compiler
def test_the_same_bits_on_any_number_of_threads(model: CompiledModel, eight_cores: None) -> None:
    for seed in range(30):
        inputs = example(seed)
        expected = model.run(inputs)[0]
        for threads in (4, 2, 3, 8, 1, 2):
            np.testing.assert_array_equal(model.run(inputs, threads)[0], expected)


@needs_compiler
def test_no_number_is_as_many_as_fast_processors(model: CompiledModel) -> None:
    inputs = example(2)
    assert 1 <= team.fast_cores() <= team.cores()
    np.testing.assert_array_equal(model.run(inputs, 0)[0], model.run(inputs)[0])


@needs_compiler
def test_the_second_threads_coming_is_measured(model: CompiledModel, eight_cores: None) -> None:
    inputs = example(3)
    assert model.wake_seconds() is None or model.wake_seconds() >= 0
    for _ in range(200):  # the first thread may end a small model alone
        time.sleep(0.001)
        model.run(inputs, 2)
        if (seconds := model.wake_seconds()) is not None:
            break
    assert seconds is not None
    assert 0 <= seconds < 10


@needs_compiler
def test_several_models_and_python_threads(model: CompiledModel, eight_cores: None) -> None:
    inputs = example(1)
    expected = model.run(inputs)[0]
    models = [model, copy.copy(model)]
    wrong: list[int] = []

    def use() -> None:
        for turn in range(20):
            wrong.append(int((models[turn % 2].run(inputs, 3)[0] != expected).sum()))

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == [0] * 60


@needs_compiler
def test_a_child_of_fork_starts_threads_of_its_own(model: CompiledModel, eight_cores: None) -> None:
    inputs = example(2)
    expected = model.run(inputs, 3)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        same = all(np.array_equal(model.run(inputs, threads)[0], expected) for threads in (3, 1, 2))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(model.run(inputs, 3)[0], expected)


@needs_compiler
def test_an_interrupted_run_leaves_a_team_that_works(model: CompiledModel, eight_cores: None) -> None:
    inputs = example(3)
    expected = model.run(inputs, 2)[0]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        _interrupt(model, inputs)
    finally:
        signal.signal(signal.SIGINT, before)
    for threads in (2, 3):
        np.testing.assert_array_equal(model.run(inputs, threads)[0], expected)


def _interrupt(model: CompiledModel, inputs: list[np.ndarray]) -> None:
    interrupt = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        _run_for(model, inputs, seconds=60)
    interrupt.join()


def test_without_a_compiler_one_thread_and_a_note(model: CompiledModel, eight_cores: None,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_library", team._library.__wrapped__)
    monkeypatch.setattr(jit, "why_no_team", team.why_no_team.__wrapped__)
    monkeypatch.setattr(team.shutil, "which", lambda name: None)
    monkeypatch.setattr(team, "find_spec", lambda name: None)
    inputs = example(4)
    with pytest.warns(UserWarning, match="runs on one thread: several threads need a C compiler once"):
        found = model.run(inputs, 2)[0]
    np.testing.assert_array_equal(found, model.run(inputs)[0])


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(team.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(EspalierError, match="/bin/false cannot build the threads"):
        team._library.__wrapped__()
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_threads_that_the_system_refuses() -> None:
    with pytest.raises(EspalierError, match="the system gives no 2 threads with"):
        team.Team(0, 2, buffers=1, scratch=0, turn=0, sizes=0, scratch_bytes=1 << 62)


@pytest.mark.parametrize("threads", [-1, 257, 1.5, True, "2"])
def test_numbers_of_threads_that_are_none(model: CompiledModel, threads: object) -> None:
    with pytest.raises(EspalierError, match="thread"):
        model.run(example(5), threads)  # type: ignore[arg-type]
