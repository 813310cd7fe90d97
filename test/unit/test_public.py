"""What ``import espalier`` offers: documented public names, and what models say of themselves."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends import load_model
from torch import nn

safetensors = pytest.importorskip("safetensors.torch")


def test_every_public_name_is_listed() -> None:
    assert sorted(espalier.__all__) == dir(espalier)
    assert espalier.__version__ == "0.1.0"


@pytest.mark.parametrize("module", ["espalier", "espalier.frontends.pruning", "espalier.frontends.tasks",
                                    "espalier.frontends"])
def test_every_public_name_is_documented(module: str) -> None:
    found = import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        if callable(value) and value.__module__.startswith("espalier"):
            assert inspect.getdoc(value), name
        for member, method in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and (callable(method) or isinstance(method, property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_prune() -> None:
    net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3))
    assert espalier.prune(net, "pattern:entries=4,patterns=4,connectivity=2", exclude="1") is net
    zeros = [float((layer.weight == 0).float().mean()) for layer in net]  # type: ignore[union-attr]
    assert zeros[0] > 0.5
    assert zeros[1] == 0
    with pytest.raises(EspalierError, match="patern"):
        espalier.prune(net, "patern")


def test_models_say_what_they_are(tmp_path: Path) -> None:
    net = espalier.prune(nn.Conv2d(8, 16, 3), "pattern:entries=4,patterns=4,connectivity=2")
    model = espalier.compile(net, torch.ones(1, 8, 6, 6))
    assert repr(model).startswith("<CompiledModel (float32[1x8x6x6]) -> (float32[1x16x4x4]): 1 layers, ")
    assert "<td>pattern</td>" in model._repr_html_()
    assert "\n" not in repr(model)


def test_irdl_path() -> None:
    """The tool of the bindings reads it."""
    text = espalier.irdl_path().read_text()
    assert "irdl.dialect @sparse" in text
    assert espalier.irdl_path() == espalier.irdl_path()


@pytest.mark.parametrize(("text", "expected"), [
    ("""func.func @main(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
          %y = tosa.add %x, %x : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
          return %y : tensor<2x3xf32> }""", lambda x: x + x),
    ("""func.func @main(%x: !torch.vtensor<[2,3],f32>) -> !torch.vtensor<[2,3],f32> {
          %y = torch.aten.relu %x : !torch.vtensor<[2,3],f32> -> !torch.vtensor<[2,3],f32>
          return %y : !torch.vtensor<[2,3],f32> }""", lambda x: np.maximum(x, 0))], ids=["tosa", "torch"])
def test_mlir_files_in_other_dialects(text: str, expected: object, tmp_path: Path) -> None:
    (tmp_path / "net.mlir").write_text(text)
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    assert np.array_equal(espalier.compile(tmp_path / "net.mlir")(x), expected(x))  # type: ignore[operator]


def test_an_operation_that_cannot_be_lowered_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.mlir").write_text("""
func.func @main(%x: !torch.vtensor<[3,3],f32>) -> !torch.vtensor<[3],f32> {
  %y = torch.operator "torch.mine.unknown"(%x) : (!torch.vtensor<[3,3],f32>) -> !torch.vtensor<[3],f32>
  return %y : !torch.vtensor<[3],f32> }""")
    with pytest.raises(EspalierError, match=r"net.mlir: .*torch.operator"):
        espalier.compile(tmp_path / "net.mlir")


def test_weights(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Linear(8, 8), torch.ones(1, 8)\n")
    trained = nn.Linear(8, 8)
    safetensors.save_file(trained.state_dict(), tmp_path / "net.safetensors")
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    for name in ("net.safetensors", "net.pth"):
        module, _ = load_model(f"{tmp_path}/net.py:net", weights=tmp_path / name)
        assert torch.equal(module.weight, trained.weight)  # type: ignore[union-attr, arg-type]
    module, _ = load_model(f"{tmp_path}/net.py:net", "bcr:rate=2,rows=4,columns=4",
                           weights=tmp_path / "net.pth")
    kept = module.weight != 0  # type: ignore[union-attr]
    assert torch.equal(module.weight[kept], trained.weight[kept])  # type: ignore[union-attr, index]
    assert not kept.all()  # type: ignore[union-attr]
    torch.save(nn.Linear(4, 4).state_dict(), tmp_path / "other.pth")
    for spec, weights, message in ((f"{tmp_path}/net.py:net", "other.pth", "--weights"),
                                   (f"{tmp_path}/net.py:net", "none.pth", "no such file"),
                                   ("net.mlir", "net.pth", "--weights works on reference networks")):
        with pytest.raises(EspalierError, match=message):
            load_model(spec, weights=tmp_path / weights)


def test_importing_is_quick_and_loads_no_mlir() -> None:
    script = "import sys, espalier; dir(espalier); assert 'torch' not in sys.modules; " \
             "assert 'torch_mlir' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
