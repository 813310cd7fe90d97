"""GRU and LSTM whose number of time steps each run decides, on software devices against PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import compile_file, import_any
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.target import Target
from espalier.runtime.executors.vulkan import Gpu, GpuProgram
from espalier.runtime.executors.vulkan_library import vulkan_library
from espalier.runtime.executors.vulkan_program import Program, decode
from espalier.runtime.model_file import ModelFile
from support.command_line import CommandLine, one_line
from support.vulkan import DRIVERS, check_spirv, lacking, on_each_device, validated
from torch import nn

MOST, OK, FAILED, NOT_RESERVED = 6, 0, 8, 7


class Bidirectional(nn.Module):
    """Two layers and directions of words, a layer behind them, and the last states."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 8), nn.Linear(32, 5)
        self.rnn = nn.GRU(8, 16, 2, bidirectional=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.rnn(self.words(x))
        return torch.relu(self.head(y)), h


class Cells(nn.Module):
    """An LSTM with its last states and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 20), nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, (h, c) = self.rnn(x)
        return self.head(torch.tanh(y)), h, c


NETS: dict[str, tuple[type[nn.Module], Callable[[int], torch.Tensor]]] = {
    "gru": (Bidirectional, lambda steps: torch.randint(0, 7, (steps, 2))),
    "lstm": (Cells, lambda steps: torch.randn(steps, 2, 8)),
}


def example(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, draw = NETS[name]
    model, x = make().eval(), draw(MOST)
    torch._dynamo.mark_dynamic(x, 0)
    return model, x


@cache
def file(name: str) -> ModelFile:
    model, x = example(name)
    return compile_file(model, (x,), Target.vulkan())


def program(name: str) -> Program:
    return decode(file(name).code, file(name).weights.tobytes())


@on_each_device
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("staging", [False, True], ids=["in place", "staged"])
def test_lengths(driver: str, name: str, staging: bool) -> None:
    model, _ = example(name)
    with validated(driver, staging=staging) as gpu, GpuProgram(gpu, program(name)) as loaded:
        for steps in (6, 3, 1, 5):
            x = NETS[name][1](steps)
            found = loaded.run([x.numpy()])
            for raw, wanted in zip(found, model(x), strict=True):
                expected = wanted.detach().numpy()
                np.testing.assert_allclose(raw.view(np.float32).reshape(expected.shape), expected, atol=1e-5)
        with pytest.raises(EspalierError, match="found 7 time steps, the model takes 1 to 6; compile it"):
            loaded.run([NETS[name][1](7).numpy()])
        with pytest.raises(EspalierError, match="input 0: expected"):
            loaded.run([NETS[name][1](1).numpy()[:0]])


@pytest.mark.parametrize("name", NETS)
def test_words_are_valid(name: str, tmp_path: Path) -> None:
    for kernel in program(name).kernels:
        check_spirv(kernel.words, tmp_path)


@on_each_device
def test_a_wrong_word_of_an_earlier_run_is_forgotten(driver: str) -> None:
    with validated(driver) as gpu, GpuProgram(gpu, program("gru")) as loaded:
        wrong = np.full((6, 2), 7)
        with pytest.raises(EspalierError, match="the model stopped: index must be smaller than dim size"):
            loaded.run([wrong])
        loaded.run([wrong[:2] - 1])


@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_the_c_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses and messages of a model: too many steps, and an index out of range."""
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["lavapipe"]))
    library, data, model = vulkan_library(), file("gru").to_bytes(), ctypes.c_void_p()
    library.espalier_last_error.restype = ctypes.c_char_p

    class Buffer(ctypes.Structure):
        _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))

    def run(words: np.ndarray) -> tuple[int, str]:
        outputs = [np.empty((len(words), 2, 5), np.float32), np.empty((4, 2, 16), np.float32)]
        given = (Buffer * 1)(Buffer(words.ctypes.data, words.nbytes))
        taken = (Buffer * 2)(*[Buffer(one.ctypes.data, one.nbytes) for one in outputs])
        status = library.espalier_run(model, given, ctypes.c_size_t(1), taken, ctypes.c_size_t(2))
        return status, library.espalier_last_error(model).decode() if status else ""

    with Gpu(0) as gpu:
        assert library.espalier_create_from_memory_on(gpu._handle, data, ctypes.c_size_t(len(data)),
                                                      ctypes.byref(model), None, ctypes.c_size_t(0)) == OK
        words = np.zeros((3, 2), np.int64)
        assert run(words) == (OK, "")
        assert run(words + 7) == (FAILED, "the model stopped: index must be smaller than dim size")
        assert run(np.zeros((7, 2), np.int64))[0] == NOT_RESERVED
        assert library.espalier_reserve(model, ctypes.c_int64(6)) == OK
        assert library.espalier_reserve(model, ctypes.c_int64(7)) == NOT_RESERVED
        error = ctypes.c_double()
        assert library.espalier_check(model, ctypes.byref(error)) == OK
        assert error.value < 1e-5
        library.espalier_destroy(model)


@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                          tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["lavapipe"]))
    espalier = CommandLine(monkeypatch, capsys)
    file("lstm").write(tmp_path / "m")
    np.save(tmp_path / "x.npy", np.ones((4, 2, 8), np.float32))
    np.save(tmp_path / "long.npy", np.ones((9, 2, 8), np.float32))
    run = ("run", tmp_path / "m", "--device", "vulkan:0", "--check", "--input")
    outputs = [argument for name in "yhc" for argument in ("--output", tmp_path / f"{name}.npy")]
    done = espalier(*run, tmp_path / "x.npy", *outputs)
    assert done.code == 0, done.err
    assert np.load(tmp_path / "y.npy").shape == (4, 2, 5)
    assert one_line(espalier(*run, tmp_path / "long.npy"), "found 9 time steps, the model takes 1 to 6")


@pytest.mark.parametrize(("function", "message"), [
    (lambda y: y.mean(0), "an op that mixes them"),
    (lambda y: y[1], "found other steps"),
    (lambda y: y.transpose(0, 1) + 1, "time steps as the first dimension"),
])
def test_what_mixes_steps_is_an_error(function: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(self.rnn(x)[0])

    x = torch.randn(MOST, 2, 8)
    torch._dynamo.mark_dynamic(x, 0)
    with pytest.raises(EspalierError, match=message):
        compile_linalg(import_any(Mixed().eval(), (x,)), CompileOptions(), Target.vulkan())
