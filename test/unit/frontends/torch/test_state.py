"""Buffers that ``forward`` overwrites: compiled models go on from run to run as PyTorch's modules do."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import cross_compiled
from espalier.pipelines.target import Target
from espalier.runtime.compiled_model import CompiledModel
from espalier.runtime.devices import find_device, run_on
from espalier.runtime.devices.vulkan import run_on_gpu
from support.command_line import CommandLine
from support.vulkan import DRIVERS, on_each_device
from torch import nn

RUNS = 10


class Stateful(nn.Module):
    """A module with ``buffers``."""

    def __init__(self, **buffers: torch.Tensor) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)


class CausalConv(nn.Module):
    """A convolution over a stream: it keeps the last samples of what it saw."""

    def __init__(self, channels: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, filters, 3, dilation=dilation)
        self.register_buffer("past", torch.zeros(1, channels, 2 * dilation), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.past, x], 2)
        self.past = x[:, :, -self.past.shape[2] :]
        return self.conv(x)


def stack() -> nn.Module:
    return nn.Sequential(CausalConv(4, 8, 1), nn.ReLU(), CausalConv(8, 8, 2), nn.ReLU(), CausalConv(8, 2, 4))


class Recurrent(Stateful):
    def __init__(self) -> None:
        super().__init__(h=torch.zeros(1, 1, 8))
        self.gru = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, self.h = self.gru(x, self.h)
        return y


class Counter(Stateful):
    """Counts in every kind of number, and returns one of them."""

    def __init__(self) -> None:
        super().__init__(calls=torch.tensor(3), odd=torch.tensor(False),
                         byte=torch.tensor([250], dtype=torch.uint8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        self.odd.copy_(~self.odd)
        self.byte += 3
        return torch.where(self.odd, x, -x) * self.byte, self.calls


class Average(Stateful):
    """An exponential moving average, and what it was before."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(mean=torch.zeros(5, dtype=dtype), before=torch.zeros(5, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.before.copy_(self.mean)
        self.mean.mul_(0.9).add_(0.1 * x)
        return x - self.mean + self.before


class Ring(Stateful):
    def __init__(self) -> None:
        super().__init__(at=torch.tensor([0]), ring=torch.zeros(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ring.index_copy_(0, self.at, x)
        self.at.copy_((self.at + 1) % 4)
        return torch.cat([self.ring.index_select(0, self.at), self.ring.sum(0, keepdim=True)])


class Delay(Stateful):
    """Two steps of delay, by assignments: what it returns was the buffer until then."""

    def __init__(self) -> None:
        super().__init__(one=torch.zeros(3), two=torch.ones(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.two
        self.two = self.one
        self.one = x
        self.one = 2 * self.one
        return y, y[:2]


class Idle(Stateful):
    """Updates that come to nothing: a constant, the same again, one that nobody reads."""

    def __init__(self) -> None:
        super().__init__(full=torch.zeros(2), same=torch.ones(2), last=torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.full.fill_(2.0)
        self.same.copy_(self.same)
        self.last.copy_(x)
        return x + self.same


KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "convolutions": (stack, (1, 4, 16)), "gru": (Recurrent, (1, 3, 4)), "counter": (Counter, (3,)),
    "average": (Average, (5,)), "ring": (Ring, (1, 3)), "idle": (Idle, (2,)),
    "delay": (Delay, (3,)), "delay inside": (lambda: nn.Sequential(Delay()), (3,))}


def compiled(kind: str) -> tuple[nn.Module, CompiledModel, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = KINDS[kind]
    module = make().eval()
    inputs = torch.randn(RUNS, *shape)
    return module, espalier.compile(module, (inputs[0],)), inputs


def same(found: Any, expected: Any) -> None:
    for ours, theirs in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, expected)), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def same_states(model: CompiledModel, module: nn.Module) -> None:
    states, buffers = model.state, dict(module.named_buffers())
    assert states.keys() == buffers.keys()
    for name, value in states.items():
        same(torch.from_numpy(value), buffers[name])


@pytest.mark.parametrize("kind", KINDS)
def test_runs_go_on_as_in_pytorch(kind: str, tmp_path: Path) -> None:
    module, model, inputs = compiled(kind)
    first = copy.deepcopy(module)
    same_states(model, module)  # compiling has moved neither
    assert model.check() <= model.tolerance
    with torch.no_grad():
        for number, x in enumerate(inputs):
            same(model(x), module(x))
            same_states(model, module)
            if number == 4:
                assert model.check(2) <= model.tolerance  # leaves the states alone
    model.save(tmp_path / "m")
    for again in (model, CompiledModel.load(tmp_path / "m")):  # a file has the initial states
        again.reset()
        same_states(again, first)
        with torch.no_grad():
            same(again(inputs[0]), copy.deepcopy(first)(inputs[0]))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64",
                    reason="needs gcc on x86-64")
def test_a_library_and_its_program_keep_states(tmp_path: Path) -> None:
    """The C runtime: in this process, and in a program of its own."""
    torch.manual_seed(0)
    module, inputs = Counter().eval(), torch.randn(4, 3)
    target = Target.cross("x86_64-linux-gnu", "native")
    model = CompiledModel(cross_compiled(compile_file(module, (inputs[0],), target), target, "net", "gcc"))
    assert model.check() <= model.tolerance
    for x in inputs:
        with torch.no_grad():
            same(model(x), module(x))
        same_states(model, module)
    assert pickle.loads(pickle.dumps(model)).state["calls"] == 7
    model.reset()
    same_states(model, Counter())
    model.save(tmp_path / "m")
    done = run_on(find_device("local", model.file), tmp_path / "m", model.file, check=True, repeat=3)
    assert done.error == 0


@on_each_device
def test_states_on_a_gpu(driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    torch.manual_seed(0)
    module, x = Average().eval(), torch.randn(5)
    file = compile_file(module, (x,), Target.vulkan())
    file.write(tmp_path / "m")
    done = run_on_gpu("vulkan:0", tmp_path / "m", file, [x.numpy()], check=True, repeat=2)
    for _ in range(2):
        expected = module(x)
    np.testing.assert_allclose(done.outputs[0], expected, rtol=1e-5, atol=1e-6)


def test_inspect_shows_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    _, model, _ = compiled("counter")
    model.save(tmp_path / "m")
    shown = CommandLine(monkeypatch, capsys)("inspect", tmp_path / "m").out
    assert "calls: int64[], odd: bool[], byte: uint8[1]" in shown
    assert "outputs     output_0: float32[3], output_1: int64[]" in shown


def test_copies_go_on_apart() -> None:
    _, model, inputs = compiled("average")
    model(inputs[0])
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = model(inputs[1])
    for other in others:
        assert torch.equal(other(inputs[1]), expected)
        other.reset()
        assert not other.state["mean"].any()
    assert model.state["mean"].any()


def test_one_model_serves_two_streams() -> None:
    module, model, inputs = compiled("gru")
    modules, states = [copy.deepcopy(module), copy.deepcopy(module)], [model.state, model.state]
    for number, x in enumerate(inputs):
        model.state = states[number % 2]
        with torch.no_grad():
            same(model(x), modules[number % 2](x))
        states[number % 2] = model.state


def test_runs_of_several_threads_come_one_after_the_other() -> None:
    _, model, inputs = compiled("counter")

    def run() -> None:
        for _ in range(20):
            model.run([inputs[0].numpy()], 2)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.state["calls"] == 63


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_states_of_other_floats(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module, inputs = Average(dtype).eval(), torch.randn(RUNS, 5, dtype=dtype)
    model = espalier.compile(module, (inputs[0],))
    for x in inputs:
        np.testing.assert_allclose(model(x).double(), module(x).double(), atol=4 * torch.finfo(dtype).eps)


def test_a_program_keeps_its_own_state() -> None:
    _, _, inputs = compiled("ring")
    program = torch.export.export(Ring().eval(), (inputs[0],))
    models = [espalier.compile(program, (inputs[0],)), espalier.compile(program, ())]
    for model in models:
        same_states(model, Ring())
        assert torch.equal(model(inputs[1]), Ring()(inputs[1]))


class Growing(Stateful):
    def __init__(self, kind: str) -> None:
        super().__init__(past=torch.zeros(1, 2), count=torch.tensor(0))
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "size":
            self.past = torch.cat([self.past, x])
        elif self.kind == "rank":
            self.past = x[0]
        elif self.kind == "dtype":
            self.count = self.count + 0.5
        elif self.kind == "input":
            x.add_(1)
        return x + self.past.sum()


@pytest.mark.parametrize(("kind", "message"), [
    ("size", "buffer 'past' is 1x2 float32 and forward makes it 2x2 float32; expected a state"),
    ("rank", "buffer 'past' is 1x2 float32 and forward makes it 2 float32; expected a state of fixed"),
    ("dtype", "buffer 'count' is a scalar int64 and forward makes it a scalar float32; expected a state"),
    ("input", "the model overwrites its input 'x' when it runs; expected a model that leaves its inputs")])
def test_states_that_are_refused(kind: str, message: str) -> None:
    module = Growing(kind).eval()
    with pytest.raises(EspalierError, match=message) as caught:
        espalier.compile(module, (torch.zeros(1, 2),))
    assert "\n" not in str(caught.value)
    assert torch.equal(module.past, torch.zeros(1, 2))  # the module is as it was
    assert module.count.dtype == torch.int64


def test_a_program_whose_state_grows_is_refused() -> None:
    """torch.export writes a copy into the buffer that cannot be."""
    program = torch.export.export(Growing("size").eval(), (torch.zeros(1, 2),))
    with pytest.raises(EspalierError, match="buffer 'past' is 1x2 and forward makes it 2x2; expected"):
        espalier.compile(program)


class ByNumber(Stateful):
    def __init__(self) -> None:
        super().__init__(at=torch.tensor(0), ring=torch.zeros(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ring[self.at % 4] = x[0]
        return self.ring.sum(0)


def test_an_index_that_is_a_number_says_what_to_do() -> None:
    with pytest.raises(EspalierError, match=r"data-dependent.*; index by tensors: x\.index_select") as caught:
        espalier.compile(ByNumber(), (torch.zeros(1, 3),))
    assert "\n" not in str(caught.value)


class Branching(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y + 1 if y.sum() > 0 else y - 1


def test_a_branch_on_data_says_what_to_do() -> None:
    with pytest.raises(EspalierError, match=r"; a branch on data is torch\.where's, or") as caught:
        espalier.compile(Branching(3, 3), (torch.zeros(1, 3),))
    assert "\n" not in str(caught.value)


def test_statistics_of_training_are_refused() -> None:
    program = torch.export.export(nn.BatchNorm1d(3).train(), (torch.randn(2, 3),))
    with pytest.raises(EspalierError, match=r"overwrites 'running_mean' when it runs, as in training; call"):
        espalier.compile(program)


def test_wrong_states_are_one_line() -> None:
    _, model, inputs = compiled("average")
    for value, message in (({"mean": np.zeros(5)}, "expected a dict of the states mean, before, found mean"),
                           (3, "found int"),
                           ({**model.state, "mean": np.zeros(4, np.float32)}, "expected 5 float32")):
        with pytest.raises(EspalierError, match=message):
            model.state = value  # type: ignore[assignment]
    plain = espalier.compile(nn.ReLU(), (inputs[0],))
    plain.reset()
    assert plain.state == {}
    with pytest.raises(EspalierError, match=r"expected a dict of the states \(none\), found mean"):
        plain.state = {"mean": np.zeros(5)}
