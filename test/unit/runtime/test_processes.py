"""Models in several processes and threads: fork, pickle, copies, compilations at once, equal bytes."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import cross_compiled
from espalier.pipelines.target import Target
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.executors import native
from espalier.runtime.model_file import ModelFile
from torch import nn


def network() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
                           nn.Linear(8 * 36, 10))
    return module.eval(), (torch.randn(1, 3, 8, 8),)


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    module, inputs = network()
    return espalier.compile(module, inputs)


def in_child(action: Callable[[], bool]) -> None:
    """Runs ``action`` in a child of fork: it must answer True, and not hang."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os._exit(0 if action() else 3)
        except BaseException:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_child_of_fork_runs(model: CompiledModel, threads: int) -> None:
    x = network()[1][0].numpy()
    expected = model.run([x], 2)[0]
    in_child(lambda: np.array_equal(model.run([x], threads)[0], expected))
    in_child(lambda: np.array_equal(model.run([2 * x], threads)[0], model.run([2 * x])[0]))
    assert np.array_equal(model.run([x], 3)[0], expected)  # the child wrote into memory of its own


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_fork_while_another_thread_runs(model: CompiledModel) -> None:
    x = network()[1][0].numpy()
    expected = model.run([x], 2)[0]
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            model.run([x], 2)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(5):
            in_child(lambda: np.array_equal(model.run([x], 2)[0], expected))
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy],
                         ids=["pickle", "deepcopy", "copy"])
def test_pickle_and_copies(model: CompiledModel, copied: Callable[[CompiledModel], CompiledModel]) -> None:
    other = copied(model)
    x = network()[1][0].numpy()
    assert other is not model
    assert (other.inputs, other.outputs, other.layers) == (model.inputs, model.outputs, model.layers)
    assert np.array_equal(other.run([x], 2)[0], model.run([x], 2)[0])
    assert other.check() == model.check()


def test_damaged_pickles(model: CompiledModel) -> None:
    function, (data, states) = model.__reduce__()
    for bad in (b"", data[:100], data[:-40]):
        with pytest.raises(EspalierError, match=r"damaged|not an Espalier model"):
            function(bad, states)


@pytest.mark.slow
def test_several_threads_compile_at_once(model: CompiledModel) -> None:
    """Different modules, and one module shared by two threads."""
    made = [network() for _ in range(3)]  # here: all of them seed one generator
    found: dict[int, bytes] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            module, inputs = made[max(number - 1, 0)]
            found[number] = espalier.compile(module, inputs).__reduce__()[1][0]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(found.values()) == {model.__reduce__()[1][0]}


COMPILE = """
import hashlib, sys
sys.path.insert(0, {folder!r})
from test_processes import network
from espalier.frontends.compile import compile_file
import espalier
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
module, inputs = network()
espalier.compile(module, inputs).save({path!r})
target = Target.cross("aarch64-linux-gnu", "cortex-a76")
print(hashlib.sha256(open({path!r}, "rb").read()).hexdigest(),
      hashlib.sha256(emit("obj", compile_file(module, inputs, target), target, "net")).hexdigest())
"""


@pytest.mark.slow
def test_compiled_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """In other processes, whose sets are ordered otherwise; the host's file and an AArch64 object."""
    pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
    digests = []
    for seed in ("1", "2"):
        script = COMPILE.format(folder=str(Path(__file__).parent), path=str(tmp_path / "m"))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                              env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split())
    assert digests[0] == digests[1]
    module, inputs = network()
    for _ in range(2):
        espalier.compile(module, inputs).save(tmp_path / "here")
        assert hashlib.sha256((tmp_path / "here").read_bytes()).hexdigest() == digests[0][0]


def test_a_file_may_be_replaced_while_it_is_mapped(model: CompiledModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = ModelFile.read(tmp_path / "m")
    before = bytes(loaded.weights)
    (tmp_path / "other").write_bytes(b"")
    os.replace(tmp_path / "other", tmp_path / "m")
    assert bytes(loaded.weights) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_compiled_ahead_of_time_for_this_machine(model: CompiledModel, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """The library in the file runs in this process, at every number of threads, and in children of fork."""
    pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
    if os.uname().machine != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on x86-64")
    target = Target.cross("x86_64-linux-gnu", "native")
    module, inputs = network()
    cross_compiled(compile_file(module, inputs, target), target, "net", "gcc").write(tmp_path / "m")
    loaded = espalier.load(str(tmp_path / "m"))
    x = inputs[0].numpy()
    expected = loaded.run([x])[0]
    assert np.abs(expected - model.run([x])[0]).max() < 1e-5
    assert loaded.check(3) < 1e-4
    assert all(np.array_equal(loaded.run([x], threads)[0], expected) for threads in (1, 2, 4))
    assert sum(seconds for _, seconds in loaded.timeline([x])) > 0
    in_child(lambda: np.array_equal(loaded.run([x], 2)[0], expected))
    assert np.array_equal(pickle.loads(pickle.dumps(loaded)).run([x])[0], expected)
    with pytest.raises(EspalierError, match="expected at most 256 threads"):
        loaded.run([x], 257)
    for code, message in ((b"\x7fELF", "library does not load"), (b"text", "library does not load")):
        broken = CompiledModel(replace(loaded._file, code=code))
        with pytest.raises(EspalierError, match=message) as caught:
            broken.run([x])
        assert "\n" not in str(caught.value)
    forged = copy.deepcopy(loaded._file.manifest)
    forged["sizes"]["arena"] //= 2
    with pytest.raises(EspalierError, match="damaged: it says arena"):
        CompiledModel(replace(loaded._file, manifest=forged)).run([x])
    monkeypatch.setattr(native, "processor_flags", lambda: {"sse2"})
    with pytest.raises(EspalierError, match=r"this processor has no .*avx.*; use: espalier run"):
        CompiledModel(loaded._file).run([x])


@pytest.mark.slow
def test_a_free_length_ahead_of_time(tmp_path: Path) -> None:
    pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
    if os.uname().machine != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on x86-64")
    torch.manual_seed(0)
    module, x = nn.GRU(5, 8).eval(), torch.randn(4, 1, 5)
    torch._dynamo.mark_dynamic(x, 0)
    target = Target.cross("x86_64-linux-gnu")
    loaded = CompiledModel(cross_compiled(compile_file(module, (x,), target), target, "net", "gcc"))
    for steps in (1, 7, 3, 30):
        given = torch.randn(steps, 1, 5)
        with torch.no_grad():
            assert (loaded(given)[0] - module(given)[0]).abs().max() < 1e-5


def test_several_threads_load_the_dialect() -> None:
    """In a process of its own: what goes wrong there ends it."""
    script = """
import threading
from espalier.sparse_dialect.dialect.dialect import register_dialect
from espalier.sparse_dialect.ir.mlir import ir
def work():
    for _ in range(10):
        register_dialect(ir.Context())
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
