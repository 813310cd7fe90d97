"""Importing: weights share memory, layers keep their names, and bad input is one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
from espalier.frontends.mlir_file import load_mlir
from espalier.frontends.torch.import_torch import import_module, import_program
from espalier.sparse_dialect.errors import EspalierError
from espalier.sparse_dialect.ir.constants import read_attribute
from espalier.sparse_dialect.ir.mlir import ir
from torch import nn
from torch.nn.utils import prune

IMAGE = torch.ones(2, 3, 8, 8)


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


class Buffers(nn.Module):
    """A buffer outside the state dict, one with -inf, an integer tensor and a tensor literal."""

    scale: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((8,), 2.0), persistent=False)
        self.register_buffer("mask", torch.full((8, 8), -torch.inf))
        self.register_buffer("places", torch.arange(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x * self.scale + self.places + torch.arange(8.0), self.mask)


def constants(module: ir.Module) -> list[np.ndarray]:
    """The tensor constants of the first function."""
    block = module.body.operations[0].regions[0].blocks[0]
    ops = [view.operation for view in block.operations if view.operation.name == "arith.constant"]
    values = [op.attributes["value"] for op in ops]
    return [read_attribute(value) for value in values if isinstance(value.type, ir.ShapedType)]


def export(module: nn.Module, *inputs: Any, **options: Any) -> torch.export.ExportedProgram:
    return torch.export.export(module, inputs, **options)


def test_weights_share_pytorchs_memory() -> None:
    conv = nn.Conv2d(3, 8, 3, bias=False)
    (weight,) = constants(import_program(export(conv, IMAGE)))
    assert np.shares_memory(weight, conv.weight.detach().numpy())


def test_tied_weights_are_one_constant() -> None:
    first, second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    second.weight = first.weight
    module = import_program(export(nn.Sequential(first, second), torch.ones(2, 8)))
    assert len(constants(module)) == 1


def test_layers_keep_their_names() -> None:
    module = import_module(nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)), (IMAGE,))
    convs = [view.operation for view in module.body.operations[0].regions[0].blocks[0].operations
             if view.operation.name == "linalg.conv_2d_nchw_fchw"]
    assert [op.location.name_str for op in convs] == ["1"]


def test_pruning_masks_are_folded() -> None:
    conv = nn.Conv2d(3, 8, 3, bias=False)
    prune.l1_unstructured(conv, "weight", amount=0.5)
    (weight,) = constants(import_module(conv, (IMAGE,)))
    assert np.count_nonzero(weight) == weight.size // 2
    assert hasattr(conv, "weight_mask")


def test_training_mode_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    model[1].eval()
    import_module(model, (IMAGE,))
    assert [part.training for part in model] == [True, False]


def test_buffers_of_every_kind_import() -> None:
    module = import_module(Buffers(), (IMAGE,))
    assert any(np.array_equal(c, np.full(8, 2.0)) for c in constants(module))


def test_saved_program(tmp_path: Path) -> None:
    torch.export.save(export(nn.Conv2d(3, 4, 3), IMAGE), tmp_path / "conv.pt2")
    module = import_program(torch.export.load(tmp_path / "conv.pt2"))
    assert "linalg.conv_2d_nchw_fchw" in str(module)


def _with_nan() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    conv.weight.data[1, 0, 0, 0] = torch.nan
    return nn.Sequential(conv)


@pytest.mark.parametrize(("module", "inputs", "message"), [
    (_with_nan(), (IMAGE,), "parameter '0.weight' holds NaN or infinity; expected finite weights"),
    (Function(torch.fft.fft), (IMAGE,), "operation 'fft_fft' has dtype complex64"),
    (nn.Sequential(nn.Identity(), Function(lambda x: torch.linalg.svd(x)[1])), (IMAGE,),
     "layer '1': PyTorch operation 'aten._linalg_svd' is not supported"),
    (Function(lambda x: torch.nextafter(x, torch.ones(8))), (IMAGE,),  # a constant is left over before it
     "operation 'aten.nextafter' is not supported"),
    (Function(torch.nonzero), (IMAGE,), "gives a shape that depends on the data"),
    (Function(lambda x: x if x.sum() > 0 else -x), (IMAGE,), "cannot export Function with torch.export: "),
    (Function(lambda x: x @ x[:, :1, :3]), (IMAGE,), "cannot export Function with torch.export: "),
    (Function(lambda x: x[x > 0]), (IMAGE,), "gives a shape that depends on the data"),
    (Function(lambda x: x.index_put((x > 0,), torch.ones(9))), (IMAGE,), "use torch.where(mask, y, x)"),
    (Function(lambda x: 3), (IMAGE,), "expected a tensor as output, found numbers or nothing"),
    (nn.Conv2d(3, 4, 3), 3, "example inputs: expected a tensor, a tuple of arguments or a dict of"),
    (Function(lambda x: x.add_(1)), (IMAGE,), "the model overwrites its input"),
    (nn.Linear(3, 2), (torch.empty(0, 4, 3),), "reshapes a tensor without elements to 0x3; expected inputs"),
], ids=["nan", "complex", "operation", "beside a constant", "nonzero", "branch", "shapes", "chosen",
        "assigned", "output", "input", "state", "empty"])
def test_bad_modules_are_one_line(module: nn.Module, inputs: tuple[Any, ...], message: str,
                                  capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EspalierError, match=re.escape(message)) as caught:
        import_module(module, inputs)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


class Asserting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert_async(x.sum() > 0)
        return x + 1


def test_a_model_that_fails_on_its_example_is_one_line() -> None:
    with pytest.raises(EspalierError, match=r"^Asserting itself fails for the example inputs") as e:
        espalier.compile(Asserting(), (torch.zeros(2),))
    assert "\n" not in str(e.value)
    assert espalier.compile(Asserting(), (torch.ones(2),)).check() == 0


def test_dynamic_shapes_are_rejected() -> None:
    program = export(nn.Conv2d(3, 4, 3), IMAGE, dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    with pytest.raises(EspalierError, match="input 'input': dimension 0 is dynamic; expected static shapes"):
        import_program(program)


@pytest.mark.parametrize(("text", "message"), [
    (b"func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> { return %x : tensor<?xf32> }",
     "'func.func' has the dynamic shape tensor<?xf32>; expected static shapes"),
    (b"func.func @f() {\n  retrn }", "2:3: custom op 'retrn' is unknown"),
    (b"\x7fELF\xff\xfe\x00", "expected MLIR text or bytecode, found other binary data"),
    (b"ML\xefR\x00\x01", "bytes"),
    (b"", "expected a func.func, found none"),
], ids=["dynamic", "syntax", "binary", "truncated bytecode", "empty"])
def test_bad_files_are_one_line(text: bytes, message: str, tmp_path: Path,
                                capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.mlir"
    path.write_bytes(text)
    with pytest.raises(EspalierError, match=re.escape(message)) as caught:
        load_mlir(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match=r"x\.mlir: cannot read: No such file"):
        load_mlir(tmp_path / "x.mlir")


def test_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "x.mlir"
    path.write_text("func.func @f(%x: tensor<2xf32>) -> tensor<2xf32> { return %x : tensor<2xf32> }")
    assert load_mlir(path).operation.verify()


def test_extreme_numbers_are_refused(tmp_path: Path) -> None:
    """They would end upstream's canonicalization with a signal."""
    path = tmp_path / "x.mlir"
    path.write_text("""func.func @f(%x: tensor<8xf32>) -> tensor<1xf32> {
      %v = arith.constant -9223372036854775808 : index
      %y = tensor.extract_slice %x[0] [1] [%v] : tensor<8xf32> to tensor<1xf32>
      return %y : tensor<1xf32>
    }""")
    with pytest.raises(EspalierError, match=r"3:12: .tensor.extract_slice. expected.*found -92233720"):
        load_mlir(path)
