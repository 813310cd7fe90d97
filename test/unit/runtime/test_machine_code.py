"""Model files bring the host's machine code: loading them compiles nothing, and other processors compile."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import espalier
import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.runtime.executors import jit, machine_code
from espalier.runtime.executors.machine_code import Library
from espalier.runtime.model_file import ModelFile

NET = """func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %y = linalg.exp ins(%x : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}"""
X = np.arange(16, dtype=np.float32).reshape(4, 4) / 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "net.mlir").write_text(NET)
    espalier.compile(folder / "net.mlir").save(folder / "net.espalier")
    if not ModelFile.read(folder / "net.espalier").native:
        pytest.skip("there is no linker: install binutils or ziglang")
    return folder / "net.espalier"


def test_loading_needs_no_compiler(model: Path) -> None:
    script = f"""
import sys
sys.modules["torch_mlir"] = None
import numpy as np, espalier
x = np.arange(16, dtype=np.float32).reshape(4, 4) / 8
np.testing.assert_allclose(espalier.load({str(model)!r})(x), np.exp(x), rtol=1e-6)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_processor_compiles(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = espalier.load(model)(X)
    monkeypatch.setattr(machine_code, "processor_flags", lambda: frozenset({"fpu"}))
    monkeypatch.setattr(jit, "Library", None)  # whoever makes one of it fails
    assert np.array_equal(espalier.load(model)(X), expected)


def test_a_system_that_loads_no_library_from_memory_compiles(
        model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Library):
        def __init__(self, code: bytes) -> None:
            raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(jit, "Library", Refused)
    np.testing.assert_allclose(espalier.load(model)(X), np.exp(X), rtol=1e-6)


def test_without_a_linker_the_file_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "_linkers", lambda: [["false"], ["no-such-linker"]])
    (tmp_path / "net.mlir").write_text(NET)
    compiled = espalier.compile(tmp_path / "net.mlir")
    compiled.save(tmp_path / "net.espalier")
    assert ModelFile.read(tmp_path / "net.espalier").native == b""
    np.testing.assert_allclose(espalier.load(tmp_path / "net.espalier")(X), np.exp(X), rtol=1e-6)


def test_a_loaded_model_keeps_its_machine_code(model: Path, tmp_path: Path) -> None:
    loaded = espalier.load(model)
    loaded.keep_machine_code()
    loaded.save(tmp_path / "again.espalier")
    assert (tmp_path / "again.espalier").read_bytes() == model.read_bytes()


def test_what_does_not_belong_together_is_refused(model: Path, tmp_path: Path) -> None:
    file = ModelFile.read(model)
    says = json.loads(file.native_for)

    def refused(what: str, **changed: object) -> None:
        replace(file, native_for=json.dumps({**says, **changed}).encode()).write(tmp_path / "bad")
        with pytest.raises(EspalierError, match=what):
            espalier.load(tmp_path / "bad")

    refused("member 'native' is another model's", model="0" * 32)
    refused("the model is damaged: its manifest says weights", weights=123456)
    refused("does not say which processor", flags=None)
