"""Our passes inside another compiler: on its pass manager, in many contexts, on other bindings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import espalier
import pytest
from espalier import passes
from espalier.pipelines.parser import named_pipeline
from espalier.pipelines.registry import default_registry
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect.dialect.schedules import set_device
from espalier.sparse_dialect.errors import PassError
from espalier.sparse_dialect.ir.mlir import ir, passmanager
from espalier.sparse_dialect.ir.values import bytecode_of
from espalier.sparse_dialect.lowering.buffers.externalize_constants import take_weights

NETWORK = (Path(__file__).parents[1] / "integration" / "sparse-to-llvm.mlir").read_text()
REFUSED = (Path(__file__).parents[1] / "integration" / "Inputs" / "refused.mlir").read_text()


def parsed(text: str = NETWORK) -> ir.Module:
    context = ir.Context()
    espalier.register_dialect(context)
    return ir.Module.parse(text, context)


def manager_of(module: ir.Module) -> Any:
    with module.context:
        return passmanager.PassManager("builtin.module", module.context)


def run_by_host(module: ir.Module, pipeline: str, target: espalier.Target | None = None) -> None:
    manager = manager_of(module)
    espalier.add_sparse_passes(manager, pipeline, target=target)
    with module.context:
        manager.run(module.operation)


def run_by_us(module: ir.Module, pipeline: str, target: espalier.Target) -> None:
    with module.context:
        set_device(module.operation, target.device)
    Runner(named_pipeline(pipeline)).run(module.operation)


def code_of(module: ir.Module) -> tuple[bytes, bytes]:
    weights = take_weights(module.operation).tobytes()
    return bytecode_of(module.operation), weights


@pytest.mark.parametrize("pipeline", ["sparse-prepare", "sparse-to-llvm"])
def test_the_hosts_manager_gives_the_same(pipeline: str) -> None:
    target, modules = espalier.Target.cross("aarch64-linux-gnu", "cortex-a76"), [parsed(), parsed()]
    run_by_host(modules[0], pipeline, target)
    run_by_us(modules[1], pipeline, target)
    codes = [code_of(module) for module in modules]
    assert codes[0] == codes[1]
    assert len(codes[0][0]) > 1000


@pytest.mark.slow
def test_mobilenet_by_the_hosts_manager() -> None:
    from espalier.frontends import load_model
    from espalier.frontends.compile import import_any

    model, inputs = load_model("mobilenet_v2", "pattern:entries=4,patterns=8,connectivity=3.6")
    target, modules = espalier.Target.host(), [import_any(model, inputs) for _ in range(2)]
    run_by_host(modules[0], "sparse-to-llvm", target)
    run_by_us(modules[1], "sparse-to-llvm", target)
    assert code_of(modules[0]) == code_of(modules[1])


def test_passes_mix_with_the_hosts_own() -> None:
    module = parsed()
    manager = manager_of(module)
    manager.add("canonicalize")
    espalier.add_sparse_passes(manager, "sparse-raise-linalg,func.func(cse),sparse-detect-schemes")
    manager.add("cse")
    with module.context:
        manager.run(module.operation)
    assert "#sparse.pattern" in str(module)


def test_errors_keep_their_location() -> None:
    with pytest.raises(PassError, match=r'3:8: .*expected a schedule with micro_kernel = "kernel_classes"'):
        run_by_host(parsed(REFUSED), "sparse-prepare")


def test_unknown_pipelines_and_passes() -> None:
    manager = manager_of(parsed())
    with pytest.raises(espalier.EspalierError, match="unknown pass 'sparse-prepair'; did you mean"):
        espalier.add_sparse_passes(manager, "sparse-prepair")


def test_a_context_without_the_dialect_or_with_threads_is_refused() -> None:
    text = NETWORK[NETWORK.index("\nfunc.func") :]
    bare = ir.Module.parse(text, ir.Context())
    with pytest.raises(espalier.EspalierError, match=r"call espalier.register_dialect\(context\) before"):
        run_by_host(bare, "sparse-prepare")
    module = parsed(text)
    module.context.enable_multithreading(True)
    if module.context.get_num_threads() > 1:
        with pytest.raises(espalier.EspalierError, match="needs the sparse dialect and one thread"):
            run_by_host(module, "sparse-prepare")


def test_pass_classes_and_pipelines_are_public() -> None:
    from espalier.passes import DetectSchemesPass

    assert DetectSchemesPass.name == "sparse-detect-schemes"
    listed = [name for name in dir(passes) if name.endswith("Pass")]
    assert len(listed) == len([name for name in default_registry().names() if name.startswith("sparse-")])
    for name in listed:
        assert getattr(passes, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'DetectPass'"):
        _ = passes.DetectPass
    assert espalier.PIPELINES["sparse-to-llvm"].elements


@pytest.mark.slow
def test_a_hundred_contexts_leave_nothing_behind() -> None:
    script = """
import gc, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import test_passes as t
def rss():
    return int(Path("/proc/self/statm").read_text().split()[1])
def once():
    t.run_by_host(t.parsed(), "sparse-prepare", t.espalier.Target.host())
for _ in range(20):
    once()
gc.collect()
before = rss()
for _ in range(100):
    once()
gc.collect()
print(rss() / before)
"""
    command = [sys.executable, "-c", script, __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05


def test_bindings_that_lack_what_we_need(tmp_path: Path) -> None:
    package = tmp_path / "other_mlir"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "ir.py").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def stderr_of(bindings: str, *command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": path, "ESPALIER_MLIR_PACKAGE": bindings}
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True,
                              env=environment, input="")
        assert done.returncode == 1
        return done.stderr

    for command in (["espalier.tools.espalier_opt", "--list-passes"],
                    ["espalier.tools.espalier", "compile", "nothing.mlir", "-o", str(tmp_path / "x")]):
        lacking = stderr_of("other_mlir", *command)
        assert lacking.count("\n") == 1, lacking
        assert "error: the package 'other_mlir' lacks passmanager" in lacking
        assert "dialects.ext" in lacking
        assert "ir (" not in lacking.replace("dialects.irdl (", "")
        none = stderr_of("no_such_mlir", *command)
        assert none.count("\n") == 1, none
        assert "error: no MLIR bindings: the package 'no_such_mlir' cannot be imported" in none
