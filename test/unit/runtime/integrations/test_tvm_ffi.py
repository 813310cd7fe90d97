"""``--emit tvm-ffi``: one library that numpy, PyTorch and TVM's Relax call, its weights inside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError, MissingPackage
from espalier.frontends.compile import compile_file
from espalier.pipelines.codegen.emit import emit
from espalier.pipelines.target import Target
from espalier.runtime.integrations import tvm_ffi as sources
from support.fake_model import WARNINGS, needs_gcc
from torch import nn

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")

pytestmark = needs_gcc
TARGET = "x86_64-linux-gnu"


class Net(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, factor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.first(x).relu()
        y = (self.second(y) + y).relu()
        return self.head(y.mean((2, 3))), y * factor


def example() -> tuple[nn.Module, tuple[torch.Tensor, ...], list[torch.Tensor]]:
    torch.manual_seed(0)
    net, inputs = Net().eval(), (torch.randn(1, 3, 10, 12), torch.tensor([2.0]))
    with torch.no_grad():
        return net, inputs, list(net(*inputs))


def library(folder: Path, module: nn.Module, inputs: tuple[torch.Tensor, ...], name: str) -> Path:
    pytest.importorskip("tvm_ffi", reason="apache-tvm-ffi is not installed (extra hosts)")
    target = Target.cross(TARGET, "native")
    path = folder / f"{name}.so"
    path.write_bytes(emit("tvm-ffi", compile_file(module, inputs, target), target, name, path.name, "gcc"))
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("tvm_ffi"), *example()[:2], "net")


@pytest.fixture
def functions(net: Path) -> Any:
    import tvm_ffi

    return tvm_ffi.load_module(str(net))


def near(found: Any, expected: list[torch.Tensor]) -> bool:
    return all(torch.as_tensor(np.asarray(one)).sub(other).abs().max() <= 1e-5 * other.abs().max()
               for one, other in zip(found, expected, strict=True))


def test_numpy_torch_and_relax_in_one_process(functions: Any) -> None:
    _, inputs, expected = example()
    assert functions.net_check() < 1e-5
    outputs: list[Any] = [torch.zeros_like(y) for y in expected]
    functions.net(*inputs, *outputs)
    assert near(outputs, expected)
    functions.net_set_threads(2)
    arrays = [np.zeros(y.shape, np.float32) for y in expected]
    functions.net(*(x.numpy() for x in inputs), *arrays)
    assert all(np.array_equal(one, other.numpy()) for one, other in zip(arrays, outputs, strict=True))
    tvm = pytest.importorskip("tvm", reason="apache-tvm is not installed (extra hosts)")
    found = through_relax(tvm, functions, [x.numpy() for x in inputs])
    assert near(found, [expected[0], -expected[1]])


RELAX = """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((1, 3, 10, 12), "float32"), factor: R.Tensor((1,), "float32")):
        with R.dataflow():
            both = R.call_dps_packed("espalier.net", (x, factor), [
                R.Tensor((1, 4), "float32"), R.Tensor((1, 8, 8, 10), "float32")])
            first = both[0]
            second = R.negative(both[1])
            R.output(first, second)
        return (first, second)
"""


def through_relax(tvm: Any, functions: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The first output, and the second one negated by code of TVM's own."""
    from tvm import relax

    tvm.register_global_func("espalier.net", functions.get_function("net"), override=True)
    built = relax.build(tvm.script.from_source(RELAX), target="llvm")
    machine = relax.VirtualMachine(built, tvm.cpu())
    return [one.numpy() for one in machine["main"](*(tvm.runtime.tensor(array) for array in inputs))]


def test_wrong_arguments_are_named(functions: Any) -> None:
    _, (x, factor), expected = example()
    y, z = (torch.zeros_like(one) for one in expected)
    for arguments, kind, message in (
            ((), TypeError, "net: expected 2 inputs and 2 outputs, found 0 arguments"),
            ((x, factor, y, z, z), TypeError, "found 5 arguments"),
            ((x, factor, y, 3), TypeError, "output 1: expected a tensor"),
            ((x, factor.double(), y, z), ValueError, r"input 1: expected float32 \[1\], found float64 \[1\]"),
            ((x.bfloat16(), factor, y, z), ValueError, "input 0: .* found dtype code 4 of 16 bits"),
            ((x[:, :2], factor, y, z), ValueError, r"\[1, 3, 10, 12\], found float32 \[1, 2, 10, 12\]"),
            ((x, factor, z, y), ValueError, r"output 0: expected float32 \[1, 4\]"),
            ((x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), factor, y, z), ValueError,
             "input 0: expected a contiguous tensor")):
        with pytest.raises(kind, match=message):
            functions.net(*arguments)
    for number in (-1, 257):
        with pytest.raises(ValueError, match=f"expected 0 to 256, found {number}"):
            functions.net_set_threads(number)
    with pytest.raises(TypeError, match="expected one integer"):
        functions.net_set_threads("2")
    with pytest.raises(TypeError, match="check: expected no arguments"):
        functions.net_check(1)
    functions.net(x, factor, y, z)  # and is as it was
    assert near([y, z], expected)


def test_two_libraries_and_a_number_of_steps_that_is_free(tmp_path: Path, functions: Any) -> None:
    import tvm_ffi

    torch.manual_seed(0)
    layer, x = nn.GRU(4, 8).eval(), torch.randn(5, 1, 4)
    torch._dynamo.mark_dynamic(x, 0)
    recurrent = tvm_ffi.load_module(str(library(tmp_path, layer, (x,), "gru")))
    for steps in (5, 1, 40):
        x = torch.randn(steps, 1, 4)
        with torch.no_grad():
            expected = list(layer(x))
        found = [torch.zeros_like(y) for y in expected]
        recurrent.gru(x, *found)
        assert near(found, expected)
        with pytest.raises(ValueError, match=r"output 0: expected float32 \[-1, 1, 8\]"):
            recurrent.gru(x, found[0][:0], found[1])
    assert functions.net_check() < 1e-5


@pytest.mark.slow
def test_weights_are_used_where_they_lie(tmp_path: Path) -> None:
    """A layer of 64 MiB costs its library's pages and no copy of them."""
    path = library(tmp_path, nn.Linear(4096, 4096), (torch.ones(1, 4096),), "net")
    script = f"""
import numpy as np, tvm_ffi
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
tvm_ffi.load_module({str(path)!r}).net(np.ones((1, 4096), np.float32), np.ones((1, 4096), np.float32))
print((resident() - before) / (4 * 4096**2))"""
    grown = float(subprocess.check_output([sys.executable, "-c", script]))
    assert 0.9 < grown < 1.2


def test_the_source_compiles_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("tvm_ffi", reason="apache-tvm-ffi is not installed (extra hosts)")
    payload = tmp_path / "model"
    payload.write_bytes(b"")
    subprocess.run(["gcc", "-std=c11", "-O2", *WARNINGS, f"-isystem{sources.headers()}",
                    f"-I{Path(sources.SOURCE).parents[2] / 'c'}", "-DESPALIER_NAME=net",
                    f'-DESPALIER_FILE="{payload}"', "-c", str(sources.SOURCE), "-o", os.devnull], check=True)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target.cross("aarch64-linux-android")
    file = compile_file(nn.Linear(4, 4), (torch.ones(1, 4),), target)
    with pytest.raises(EspalierError, match="needs --linker CMD, an NDK's clang"):
        emit("tvm-ffi", file, target, "net")
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"--emit tvm-ffi needs the package tvm_ffi: .*\[hosts\]"):
        emit("tvm-ffi", file, target, "net", linker="gcc")
