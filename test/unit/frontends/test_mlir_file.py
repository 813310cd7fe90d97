"""``.mlir`` files: bad ones are one line, and what torch-mlir has wrong is right."""

from __future__ import annotations

from pathlib import Path

import espalier
import numpy as np
import pytest
from espalier.errors import EspalierError

RELU = ("func.func @main(%a: T) -> T {\n %0 = torch.aten.relu %a : T -> T\n return %0 : T\n}")
SAME = "func.func @main(%a: T) -> T {\n return %a : T\n}"
VIEW = ("func.func @main(%a: !torch.vtensor<[0,8],f32>) -> !torch.vtensor<[8,0],f32> {\n"
        " %n = torch.constant.int 8\n %z = torch.constant.int 0\n"
        " %l = torch.prim.ListConstruct %n, %z : (!torch.int, !torch.int) -> !torch.list<int>\n"
        " %0 = torch.aten.view %a, %l : !torch.vtensor<[0,8],f32>, !torch.list<int> -> "
        "!torch.vtensor<[8,0],f32>\n return %0 : !torch.vtensor<[8,0],f32>\n}")

GELU = ("func.func @main(%a: !torch.vtensor<[9],f32>) -> !torch.vtensor<[9],f32> {\n"
        ' %s = torch.constant.str "tanh"\n'
        " %0 = torch.aten.gelu %a, %s : !torch.vtensor<[9],f32>, !torch.str -> !torch.vtensor<[9],f32>\n"
        " return %0 : !torch.vtensor<[9],f32>\n}")
GIVEN = ("func.func @main(%a: !torch.vtensor<[3],f32>, %p: !torch.list<int>) -> !torch.vtensor<[2],f32> {\n"
         " %f = torch.constant.float 0.0\n %0 = torch.aten.constant_pad_nd %a, %p, %f : "
         "!torch.vtensor<[3],f32>, !torch.list<int>, !torch.float -> "
         "!torch.vtensor<[2],f32>\n return %0 : !torch.vtensor<[2],f32>\n}")
SAMPLED = ("func.func @main(%x: IMAGE, %g: GRID) -> IMAGE {\n"
           " %0 = torch.constant.int 0\n %f = torch.constant.bool false\n"
           " %r = torch.aten.grid_sampler %x, %g, %0, %0, %f : IMAGE, GRID, !torch.int, !torch.int, "
           "!torch.bool -> IMAGE\n return %r : IMAGE\n}"
           .replace("IMAGE", "!torch.vtensor<[1,1,4,4],f32>")
           .replace("GRID", "!torch.vtensor<[1,4,4,2],f32>"))
CROP = ("func.func @main(%a: tensor<3xf32>) -> tensor<2xf32> {\n"
        " %p = tosa.const_shape {values = dense<[-1, 0]> : tensor<2xindex>} : () -> !tosa.shape<2>\n"
        ' %c = "tosa.const"() <{values = dense<0.0> : tensor<1xf32>}> : () -> tensor<1xf32>\n'
        " %0 = tosa.pad %a, %p, %c : (tensor<3xf32>, !tosa.shape<2>, tensor<1xf32>) -> tensor<2xf32>\n"
        " return %0 : tensor<2xf32>\n}")


@pytest.mark.parametrize(("text", "message"), [
    (RELU.replace("T", "!torch.vtensor"), "'torch.aten.relu' has a tensor of type .*; expected its sizes"),
    (VIEW, "'torch.aten.view' gives .*; expected tensors that hold elements"),
    (SAME.replace("T", "tensor<3xui8>"), "input 0: expected elements of"),
    (SAME.replace("T", "tensor<3xindex>"), "input 0: expected elements of"),
    (SAME.replace("T", "tensor<4611686018427387904x4xf32>"), "which no memory holds"),
    ("func.func @main(%a: tensor<3xf32>) {\n return\n}", "expected a function that returns a tensor"),
    ("func.func @main() -> tensor<1xf32> {\n %0 = arith.constant dense<1.0> : tensor<1xf32>\n"
     " return %0 : tensor<1xf32>\n}", "'func.func' expected an input, found none"),
    (GIVEN, "PyTorch operation 'aten.constant_pad_nd' is not supported"),
    (SAMPLED, "PyTorch operation 'aten.grid_sampler' is not supported"),
    (CROP, "'tosa.pad' expected amounts of 0 or more, found \\[-1, 0\\]; write a crop as tosa.slice"),
    ("func.func @main(%a: T) -> T {\n %0 = call @g(%a) : (T) -> T\n return %0 : T\n}\n"
     "func.func private @g(%a: T) -> T {\n %0 = call @main(%a) : (T) -> T\n return %0 : T\n}"
     .replace("T", "tensor<3xf32>"), "function @main calls itself; write its steps out, or as a loop"),
    (SAME.replace("T", "tensor<3xf32>").replace("func @", "func private @"), "found private ones alone"),
    ("module {" * 3000 + "}" * 3000, "its regions are nested too deeply"),
])
def test_bad_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "net.mlir").write_text(text)
    with pytest.raises(EspalierError, match=message) as caught:
        espalier.compile(tmp_path / "net.mlir", ())
    assert len(str(caught.value).splitlines()) == 1


def test_gelu_by_tanh_has_all_digits(tmp_path: Path) -> None:
    """torch-mlir's own is off by 5e-5."""
    (tmp_path / "net.mlir").write_text(GELU)
    x = np.linspace(-4, 4, 9, dtype=np.float32)
    (found,) = espalier.compile(tmp_path / "net.mlir").run([x])
    exact = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6)
