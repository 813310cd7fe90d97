"""LLVM IR text for LLVM 22, targets by name, and objects with one symbol."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from espalier.entry import BUFFERS
from espalier.errors import EspalierError
from espalier.pipelines.codegen.codegen import NativeCode
from espalier.pipelines.codegen.llvm_text import for_llvm22, literal, translate
from espalier.pipelines.target import Target
from espalier.runtime.model_file import ModelFile
from espalier.sparse_dialect.ir.mlir import bindings, ir
from hypothesis import given, settings
from hypothesis import strategies as st

llvm = pytest.importorskip("llvmlite.binding", reason="llvmlite is not installed (extra aot)")

TRIPLES = ("aarch64-linux-gnu", "aarch64-linux-musl", "aarch64-linux-android", "x86_64-linux-gnu")
FINGERPRINT = "0123456789abcdef" * 2
# name in MLIR and in LLVM, width in bits
TYPES = (("f16", "half", 16), ("bf16", "bfloat", 16), ("f32", "float", 32), ("f64", "double", 64))
NETWORK = """
llvm.func @sched_yield() -> i32
llvm.func internal @kernel(%x: !llvm.ptr, %n: i64) attributes {no_inline} {
  %now = llvm.call_intrinsic "llvm.readcyclecounter"() : () -> i64
  %sum = llvm.add %now, %n : i64
  %tenth = llvm.mlir.constant(0.1 : f32) : f32
  %v = llvm.load %x : !llvm.ptr -> vector<4xf32>
  %k = llvm.mlir.constant(dense<0.3> : vector<4xf32>) : vector<4xf32>
  %w = llvm.intr.fmuladd(%v, %k, %v) : (vector<4xf32>, vector<4xf32>, vector<4xf32>) -> vector<4xf32>
  llvm.store %w, %x : vector<4xf32>, !llvm.ptr
  %at = llvm.getelementptr %x[4] : (!llvm.ptr) -> !llvm.ptr, f32
  llvm.store %tenth, %at : f32, !llvm.ptr
  %after = llvm.getelementptr %x[6] : (!llvm.ptr) -> !llvm.ptr, f32
  llvm.store %sum, %after : i64, !llvm.ptr
  llvm.return
}
llvm.func @espalier_entry(%buffers: !llvm.ptr, %sizes: !llvm.ptr, %thread: i64, %threads: i64) {
  %ignored = llvm.call @sched_yield() : () -> i32
  %x = llvm.load %buffers : !llvm.ptr -> !llvm.ptr
  llvm.call @kernel(%x, %thread) : (!llvm.ptr, i64) -> ()
  llvm.return
}
"""


def bytecode(text: str) -> bytes:
    with ir.Context():
        stream = io.BytesIO()
        ir.Module.parse(text).operation.write_bytecode(stream)
        return stream.getvalue()


def file_of(code: str) -> ModelFile:
    """A model without tensors around functions in the LLVM dialect."""
    buffers = ", ".join(f'"{name}"' for name in BUFFERS)
    module = (f"module attributes {{espalier.arguments = [{buffers}], espalier.input_types = [], "
              f"espalier.output_types = []}} {{ {code} }}")
    manifest = {"inputs": [], "outputs": [], "labels": [], "messages": [], "sizes": {}}
    return ModelFile(manifest, bytecode(module), np.zeros(0, np.uint8), FINGERPRINT)


def native(triple: str = "aarch64-linux-gnu", cpu: str = "", name: str = "net",
           code: str = NETWORK) -> NativeCode:
    return NativeCode(file_of(code), Target.cross(triple, cpu), name)


# -- text ---------------------------------------------------------------------------------------


def reread(patterns: list[int], mlir_type: str, llvm_type: str, bits: int) -> list[int]:
    """``patterns`` as constants, through LLVM 24's text, ours, and LLVM 22's assembly."""
    numbers = ", ".join(f"0x{pattern:0{bits // 4}X}" for pattern in patterns)
    text = (f"llvm.mlir.global constant @table(dense<[{numbers}]> : tensor<{len(patterns)}x{mlir_type}>) "
            f": !llvm.array<{len(patterns)} x {mlir_type}>")
    with ir.Context():
        translated = bindings("dialects.llvm").translate_module_to_llvmir(ir.Module.parse(text).operation)
    module = llvm.parse_assembly(for_llvm22(translated))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    assembly = target.create_target_machine().emit_assembly(module)
    words = {16: "hword", 32: "word", 64: "xword"}[bits]
    return [int(number, 0) for number in re.findall(rf"\.{words}\t(\S+)", assembly)]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TYPES), st.data())
def test_literals_keep_every_bit(type_: tuple[str, str, int], data: st.DataObject) -> None:
    patterns = data.draw(st.lists(st.integers(1, (1 << type_[2]) - 1), min_size=2, max_size=40, unique=True))
    assert reread(patterns, *type_) == patterns


def test_special_literals() -> None:
    assert reread([0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F812345, 0xFFC12345, 1, 0x80000000,
                   0x3DCCCCCD], *TYPES[2]) == [0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F812345,
                                               0xFFC12345, 1, 0x80000000, 0x3DCCCCCD]
    assert literal("1.000000e-01", "float") == "0x3FB99999A0000000"
    assert literal("f0x3DCCCCCD", "float") == "0x3FB99999A0000000"
    assert literal("-inf", "half") == "0xHFC00"


def test_strings_and_names_stay() -> None:
    text = '@s = constant [9 x i8] c"float 0.1"\n  %1.5e-1 = fadd float %1.5, 1.500000e+00\n'
    assert for_llvm22(text) == text.replace("1.500000e+00", "0x3FF8000000000000")


def test_attributes_of_intrinsics_go() -> None:
    text = ("define void @f() #0 {\n  ret void\n}\ndeclare i64 @llvm.smin.i64(i64, i64) #1\n"
            "attributes #0 = { noinline }\nattributes #1 = { nocreateundeforpoison }\n")
    assert for_llvm22(text) == ("define void @f() #0 {\n  ret void\n}\n"
                                "declare i64 @llvm.smin.i64(i64, i64)\nattributes #0 = { noinline }\n")


def test_untranslatable() -> None:
    with ir.Context() as context:
        context.allow_unregistered_dialects = True
        module = ir.Module.parse('func.func private @f()\n"other.op"() : () -> ()')
        with pytest.raises(EspalierError, match=r"in the LLVM dialect, found func\.func, other\.op; run"):
            translate(module.operation)


# -- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("triple", "cpu", "features", "expected"), [
    ("aarch64-linux-gnu", "cortex-a55", "", ("neon", 4, "cortex-a55")),
    ("aarch64-linux-android", "", "+fullfp16,-sve", ("neon", 4, "cortex-a76")),
    ("aarch64-linux-gnu", "cortex-x3", "", ("neon", 4, "cortex-x1")),
    ("x86_64-linux-gnu", "x86-64-v4", "", ("avx512", 16, "avx512")),
    ("x86_64-linux-gnu", "znver4", "", ("avx512", 16, "zen4")),
    ("x86_64-linux-gnu", "znver3", "", ("avx2", 8, "avx2")),
    ("x86_64-linux-gnu", "x86-64-v4", "-avx512f", ("avx2", 8, "avx2")),
    ("x86_64-linux-gnu", "", "", ("avx2", 8, "avx2")),
    ("x86_64-linux-gnu", "x86-64", "", ("sse", 4, "sse"))])
def test_target(triple: str, cpu: str, features: str, expected: tuple[str, int, str]) -> None:
    target = Target.cross(triple, cpu, features)
    assert (target.name, target.lanes, target.core) == expected
    assert target.features == tuple(features.split(",") if features else ())
    assert target.cpu


@pytest.mark.parametrize(("arguments", "message"), [
    (("riscv64-linux-gnu",), "unknown target 'riscv64-linux-gnu': .*known are aarch64-linux-gnu, .*x86_64"),
    (("aarch64-linux-gnu", "cortex-a1"), "processor 'cortex-a1' .* did you mean .*known .*cortex-a55"),
    (("aarch64-linux-gnu", "x86-64-v3"), "unknown processor 'x86-64-v3'"),
    (("aarch64-linux-gnu", "", "+avx512f"), r"unknown feature '\+avx512f' for .* known are .*\+fullfp16.*"),
    (("aarch64-linux-gnu", "", "fullfp16"), r"unknown feature 'fullfp16' for .*: did you mean \+fullfp16"),
    (("x86_64-linux-gnu", "x86-64-v3", "+"), "unknown feature '[+]'")])
def test_unknown_targets(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(EspalierError, match=message) as caught:
        Target.cross(*arguments)
    assert "\n" not in str(caught.value)


# -- objects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("triple", TRIPLES)
def test_object_exports_the_model_alone(triple: str) -> None:
    code = native(triple)
    assembly = code.assembly
    assert re.findall(r"\.globl\t(\S+)", assembly) == ["espalier_model_net"]
    assert f'"{FINGERPRINT}"' in assembly
    assert code.object[:4] == b"\x7fELF"
    assert f"target triple = \"{triple.split('-')[0]}-unknown-linux" in code.llvm_ir


def test_processor_decides_the_instructions() -> None:
    assert "cntvct_el0" in native(cpu="cortex-a76").assembly.lower()
    assert "rdtsc" in native("x86_64-linux-gnu").assembly
    assert "vfmadd" in native("x86_64-linux-gnu", "x86-64-v3").assembly
    assert "vfmadd" not in native("x86_64-linux-gnu", "x86-64").assembly


@pytest.mark.parametrize("name", ["3d", "a-b", "", "a b", "é"])
def test_bad_names(name: str) -> None:
    with pytest.raises(EspalierError, match="is no C identifier"):
        native(name=name)


def test_no_entry_and_no_triple() -> None:
    with pytest.raises(EspalierError, match="no function espalier_entry"):
        _ = native(code="llvm.func @main() { llvm.return }").object
    with pytest.raises(EspalierError, match="name a triple, such as aarch64-linux-gnu"):
        NativeCode(file_of(NETWORK), Target.host(), "net")


def test_the_code_carries_what_it_needs() -> None:
    """Sizes, types and buffers, where the C runtime finds them; a manifest that differs is no model."""
    file = file_of(NETWORK)
    code = NativeCode(file, Target.cross("x86_64-linux-gnu"), "net").llvm_ir
    assert '@espalier_model_net.buffers = private constant' in code
    assert " ".join(BUFFERS) + "\\00" in code
    forged = replace(file, manifest={**file.manifest, "sizes": {"arena": 64}})
    with pytest.raises(EspalierError, match="its manifest says arena '64', its code has '0'"):
        _ = NativeCode(forged, Target.cross("x86_64-linux-gnu"), "net").object
