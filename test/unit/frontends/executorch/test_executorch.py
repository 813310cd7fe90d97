"""ExecuTorch: what is lowered to Espalier's delegate, runs as PyTorch does, and says what is wrong."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends import load_model
from espalier.pipelines.target import Target
from espalier.runtime.integrations.executorch import FOLDER
from support.fake_model import needs_gcc
from torch import nn

pytest.importorskip("llvmlite", reason="llvmlite is not installed (extra aot)")
exir = pytest.importorskip("executorch.exir", reason="executorch is not installed (extra hosts)")
from espalier.frontends.executorch import EspalierPartitioner, load_backend  # noqa: E402
from espalier.frontends.executorch.backend import Settings  # noqa: E402

pytestmark = needs_gcc
Inputs = tuple[torch.Tensor, ...]


class Net(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, factor: torch.Tensor) -> Inputs:
        y = self.first(x).relu()
        y = (self.norm(self.second(y)) + y).relu()
        return self.head(y.mean((2, 3))), y * factor


class Middle(nn.Module):
    """A Fourier transform, which we do not take, between what we do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.view_as_real(torch.fft.rfft(self.first(x).relu(), dim=3))
        return self.last(y.square().sum(-1)).relu()


def lowered(module: nn.Module, inputs: Inputs, *others: Any, **options: Any) -> Any:
    """What ExecuTorch makes of the module's program, our sub-graphs linked by gcc."""
    partitioner = EspalierPartitioner(linker="gcc", **options)
    return exir.to_edge_transform_and_lower(torch.export.export(module.eval(), inputs),
                                            partitioner=[partitioner, *others], generate_etrecord=True)


def calls(manager: Any) -> list[str]:
    """The program's calls, ``delegate`` for each sub-graph."""
    names = [str(getattr(node.target, "__name__", node.target)) for node in
             manager.exported_program().graph.nodes if node.op == "call_function"]
    return ["delegate" if "delegate" in name else name for name in names if "getitem" not in name]


def method(program: Any, **options: Any) -> Any:
    from executorch.runtime import Runtime

    load_backend()
    return Runtime.get().load_program(program, **options).load_method("forward")


def near(found: Any, module: nn.Module, inputs: Inputs) -> bool:
    with torch.no_grad():
        expected = module(*inputs)
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    return all((one - other).abs().max() <= 1e-5 * other.abs().max()
               for one, other in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Inputs, Any, Path]:
    """Module, inputs, what it was lowered to, and its file."""
    module, inputs = Net(), (torch.randn(1, 3, 10, 12), torch.tensor([2.0]))
    manager = lowered(module, inputs, threads=2)
    path = tmp_path_factory.mktemp("executorch") / "net.pte"
    program = manager.to_executorch()
    path.write_bytes(program.buffer)
    program.get_etrecord().save(str(path.with_suffix(".etrecord")))
    return module, inputs, manager, path


# -- lowered and run ----------------------------------------------------------------------------


def test_a_whole_program(net: tuple[nn.Module, Inputs, Any, Path]) -> None:
    module, inputs, manager, path = net
    assert calls(manager) == ["delegate"]
    assert near(method(path).execute(inputs), module, inputs)
    other = (torch.randn(1, 3, 10, 12), torch.tensor([-3.0]))
    assert near(method(path.read_bytes()).execute(other), module, other)  # from memory, aligned or not


@pytest.mark.slow
def test_an_unsupported_operation_in_the_middle(tmp_path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    module, inputs = Middle().eval(), (torch.randn(1, 3, 6, 8),)
    manager = lowered(module, inputs, XnnpackPartitioner())
    found = calls(manager)
    assert found[0] == found[-1] == "delegate"
    assert found.count("delegate") == 2
    assert any("fft" in name for name in found[1:-1])
    path = tmp_path / "middle.pte"
    path.write_bytes(manager.to_executorch().buffer)
    assert near(method(path).execute(inputs), module, inputs)


def test_profiles_show_our_layers(net: tuple[nn.Module, Inputs, Any, Path], tmp_path: Path) -> None:
    from executorch.devtools import Inspector
    from executorch.runtime import Runtime

    _, inputs, _, path = net
    load_backend()
    program = Runtime.get().load_program(path, enable_etdump=True)
    program.load_method("forward").execute(inputs)
    program.write_etdump_result_to_file(str(tmp_path / "net.etdp"), str(tmp_path / "debug"))
    inspector = Inspector(etdump_path=str(tmp_path / "net.etdp"), etrecord=str(path.with_suffix(".etrecord")))
    events = {event.name: event for block in inspector.event_blocks for event in block.events}
    assert events["DELEGATE_CALL"].delegate_backend_name == "EspalierBackend"
    assert {"first", "second", "head"} <= events.keys()
    assert events["first"].is_delegated_op
    assert events["first"].debug_handles
    spent = sum(event.perf_data.avg for event in events.values() if event.is_delegated_op)
    assert 0 < spent <= events["DELEGATE_CALL"].perf_data.avg


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_networks(name: str, tmp_path: Path) -> None:
    module, inputs = load_model(name, "pattern:entries=4,patterns=8,connectivity=3.6,linear=8")
    manager = lowered(module, inputs)
    assert calls(manager) == ["delegate"]
    path = tmp_path / "net.pte"
    path.write_bytes(manager.to_executorch().buffer)
    assert near(method(path).execute(inputs), module, inputs)


@pytest.mark.slow
def test_recurrent_layers_are_found_whole(tmp_path: Path) -> None:
    class Last(nn.GRU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(x)[0]

    torch.manual_seed(0)
    module, inputs = Last(8, 16), (torch.randn(5, 1, 8),)
    manager = lowered(module, inputs)
    assert calls(manager) == ["delegate"]
    path = tmp_path / "net.pte"
    path.write_bytes(manager.to_executorch().buffer)
    assert near(method(path).execute(inputs), module, inputs)
    assert b'"op": "gru"' in path.read_bytes()


@pytest.mark.slow
def test_weights_are_used_where_they_lie(tmp_path: Path) -> None:
    """Loading 64 MiB of weights takes at most 1.2 times as much memory at its peak."""
    path = tmp_path / "net.pte"
    path.write_bytes(lowered(nn.Linear(4096, 4096), (torch.ones(1, 4096),)).to_executorch().buffer)
    script = f"""
from espalier.runtime.integrations.executorch import load
from executorch.runtime import Runtime
load()
def memory(kind): return next(int(line.split()[1]) for line in open("/proc/self/status") if kind in line)
open("/proc/self/clear_refs", "w").write("5")  # the peak is now's
before = memory("VmRSS")
program = Runtime.get().load_program({str(path)!r})
method = program.load_method("forward")
print((memory("VmHWM") - before) / (4 * 4096**2 / 1024))"""
    grown = float(subprocess.check_output([sys.executable, "-c", script]).split()[-1])
    assert 0.9 < grown < 1.2


# -- what is taken ------------------------------------------------------------------------------


def tagged(module: nn.Module, inputs: Inputs, **export: Any) -> list[str]:
    """The names of the operations that become ours."""
    program = exir.to_edge(torch.export.export(module.eval(), inputs, **export)).exported_program()
    nodes = EspalierPartitioner().partition(program).tagged_exported_program.graph.nodes
    return [str(node.target.__name__) for node in nodes
            if node.op == "call_function" and node.meta.get("delegation_tag")]


@pytest.mark.slow
def test_other_layouts_and_dynamic_shapes_are_left() -> None:
    conv, x = nn.Conv2d(3, 8, 3), torch.randn(2, 3, 6, 6)
    assert tagged(conv, (x,)) == ["aten.convolution.default"]
    assert tagged(conv, (x.to(memory_format=torch.channels_last),)) == []
    assert tagged(conv, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},)) == []


def test_state_stays_with_the_program() -> None:
    """A buffer that the program writes to is no weight."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)
            return self.total * 2

    program = exir.to_edge(torch.export.export(Counter(), (torch.ones(4),))).exported_program()
    result = EspalierPartitioner().partition(program)
    assert result.partition_tags
    names = [name for name, buffer in program.graph_signature.inputs_to_buffers.items() if buffer == "total"]
    assert [node.meta.get("delegation_tag") for node in program.graph.nodes if node.name in names] == [None]


def test_settings() -> None:
    target = Target.cross("aarch64-linux-android", "cortex-a76", "+fullfp16", "fp16")
    settings = EspalierPartitioner(target, threads=4, linker="clang")._settings
    assert Settings.of(settings.specs()) == settings
    with pytest.raises(EspalierError, match="expects the compile specs of an EspalierPartitioner"):
        Settings.of([])
    for target in (Target.host(), Target.vulkan()):
        with pytest.raises(EspalierError, match="expects a CPU to compile for ahead of time"):
            EspalierPartitioner(target)
    with pytest.raises(EspalierError, match="threads: expected 0 or more, found -1"):
        EspalierPartitioner(threads=-1)


# -- what is wrong is said ----------------------------------------------------------------------


@pytest.mark.parametrize(("member", "message"), [
    (b"weights", "the model file is damaged: bad CRC-32 of member 'weights'"),
    (b"code", "the model file is damaged: bad CRC-32 of member 'code'"),
    (b"manifest.json", "not an Espalier model file")])
def test_damaged_payloads(member: bytes, message: str, net: tuple[nn.Module, Inputs, Any, Path],
                          tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(net[3].read_bytes())
    header = re.search(b"PK\3\4.{26}" + member, data, re.DOTALL)
    assert header is not None
    lengths = struct.unpack_from("<2H", data, header.start() + 26)
    data[header.start() if member == b"manifest.json" else header.start() + 30 + sum(lengths)] ^= 1
    (tmp_path / "damaged.pte").write_bytes(data)
    with pytest.raises(RuntimeError):
        method(tmp_path / "damaged.pte")
    assert f"espalier: {message}" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["ON", "OFF"])
def test_cmake(shared: str, tmp_path: Path) -> None:
    """The CMake build of apps: without warnings, and as a library that registers itself."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is missing")
    from espalier.runtime.integrations.executorch import package

    for command in (["cmake", "-S", FOLDER, "-B", tmp_path, f"-DBUILD_SHARED_LIBS={shared}",
                     f"-DCMAKE_PREFIX_PATH={package()}", "-DCMAKE_BUILD_TYPE=Release",
                     "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wno-unused-parameter -Werror"],
                    ["cmake", "--build", tmp_path, "--target", "executorch_backend_espalier"]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    if shared == "OFF":
        assert (tmp_path / "libexecutorch_backend_espalier.a").is_file()
        return
    script = f"""
import ctypes; ctypes.CDLL({str(tmp_path / "libexecutorch_backend_espalier.so")!r})
from executorch.runtime import Runtime
print(*Runtime.get().backend_registry.registered_backend_names)"""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(package() / "lib")}
    printed = subprocess.check_output([sys.executable, "-c", script], text=True, env=environment)
    assert "EspalierBackend" in printed
