"""xDSL's form of the dialect: it is what our classes are, reads our files, and refuses what they refuse."""

from __future__ import annotations

import io
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import espalier
import pytest
from espalier.frontends.mlir_file import load_mlir
from espalier.pipelines.named import PREPARE
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect import register_dialect
from espalier.sparse_dialect.dialect.dialect import Sparse
from espalier.sparse_dialect.ir.mlir import ir

pytestmark = pytest.mark.skipif(find_spec("xdsl") is None,
                                reason="xdsl is missing: pip install 'espalier-compiler[hosts]'")
ROOT = Path(espalier.__file__).parent
NET = """
func.func @main(%x: tensor<1x4x8x8xf32>) -> tensor<1x8x8x8xf32> {
  %w = arith.constant dense<0.5> : tensor<8x4x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%a: index, %b: index, %c: index, %d: index):
    tensor.yield %zero : f32
  } : tensor<1x4x8x8xf32> to tensor<1x4x10x10xf32>
  %e = tensor.empty() : tensor<1x8x8x8xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  %y = linalg.conv_2d_nchw_fchw {dilations = dense<1> : vector<2xi64>, strides = dense<1> : vector<2xi64>}
    ins(%p, %w : tensor<1x4x10x10xf32>, tensor<8x4x3x3xf32>)
    outs(%f : tensor<1x8x8x8xf32>) -> tensor<1x8x8x8xf32>
  return %y : tensor<1x8x8x8xf32>
}"""


def new_context() -> Any:
    """A context with all of xDSL's dialects and ours."""
    from espalier.tools.xdsl_dialect import sparse_dialect
    from xdsl.context import Context
    from xdsl.dialects import get_all_dialects

    context = Context()
    for name, factory in get_all_dialects().items():
        context.register_dialect(name, factory)
    context.load_dialect(sparse_dialect())
    return context


def printed(module: Any) -> str:
    from xdsl.printer import Printer

    stream = io.StringIO()
    Printer(stream, print_generic_format=True).print_op(module)
    return stream.getvalue()


def round_trip(text: str) -> str:
    """Parsed, verified, printed and parsed again by xDSL; what it prints.

    xDSL gives a resource that it reads again another name, for the whole process.
    """
    from xdsl.parser import Parser

    module = Parser(new_context(), text).parse_module()
    module.verify()
    once = printed(module)
    again = Parser(new_context(), once).parse_module()
    same, found = (re.sub(r"dense_resource<\w+>", "dense_resource<>", text.partition("{-#")[0])
                   for text in (once, printed(again)))
    assert found == same
    return once


def test_it_is_what_our_classes_are() -> None:
    """The same operations and attributes, with the same names inside."""
    from espalier.tools.xdsl_dialect import sparse_dialect

    ours = {op.OPERATION_NAME for op in Sparse.operations}
    assert {op.name for op in sparse_dialect().operations} == ours
    declared = {op.name: op.get_irdl_definition() for op in sparse_dialect().operations}
    conv = declared["sparse.conv"]
    assert [name for name, _ in conv.operands] == ["input", "weight", "bias", "residual"]
    assert {"strides", "padding_low", "activation", "scheme", "schedule", "record"} <= set(conv.attributes)
    text = espalier.irdl_path().read_text()
    for name, definition in declared.items():
        body = text.partition(f"irdl.operation @{name.removeprefix('sparse.')} {{")[2]
        declared_here = set(re.findall(r'"(\w+)" = ', body.partition("irdl.results")[0]))
        assert declared_here == set(definition.attributes) - {"operandSegmentSizes"}, name


@pytest.mark.parametrize("name", ["ops", "recurrent"])
def test_our_files_round_trip(name: str) -> None:
    for text in (ROOT / f"test/dialect/{name}.mlir").read_text().split("// -----"):
        once = round_trip(text)
        with ir.Context() as mlir:
            register_dialect(mlir)
            ir.Module.parse(once)  # and ours reads what xDSL prints


def test_a_prepared_network_round_trips(tmp_path: Path) -> None:
    (tmp_path / "net.mlir").write_text(NET)
    module = load_mlir(tmp_path / "net.mlir")
    Runner(parse_pipeline(f"builtin.module({','.join(PREPARE)})")).run(module.operation)
    generic = module.operation.get_asm(print_generic_op_form=True)
    assert "sparse.packed_conv" in generic
    round_trip(generic)


def test_what_is_left_out_is_refused() -> None:
    from xdsl.parser import Parser
    from xdsl.utils.exceptions import VerifyException

    text = (ROOT / "test/dialect/ops.mlir").read_text().partition("// -----")[0]
    module = Parser(new_context(), text).parse_module()
    op = next(op for op in module.walk() if op.name == "sparse.conv")
    del op.attributes["strides"]
    with pytest.raises(VerifyException, match="strides"):
        module.verify()


def test_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["xdsl.universe"] == {"espalier": "espalier.tools.xdsl_dialect:UNIVERSE"}
    from espalier.tools.xdsl_dialect import UNIVERSE

    assert UNIVERSE.all_dialects["sparse"]().name == "sparse"
