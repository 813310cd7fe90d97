"""A model for IREE 3.13: one module of MLIR, an object with our kernels, and a file of weights.

    module {
      hal.executable.source private @espalier <objects = <{#hal.executable.target<...> = [...]}>> {
        hal.executable.export public @conv_0_0 ordinal(0) layout(...) count(...) { 4 workgroups a worker }
        builtin.module {
          func.func private @espalier_conv_0_0(memref<...>, ..., index, index)
          func.func @conv_0_0() { bindings, the workgroup's number and their count, and the call }
        }
      }
      util.global private @weights = #flow.parameter.named<"model"::"weights"> : tensor<4352xi8>
      func.func @main(...) { dispatches of @espalier; and linalg, which IREE compiles }
    }

``sparse-outline-dispatches`` leaves ``@main`` and the functions of the object; here is what IREE wants
between the two. The target that names the object must be bare, and memrefs static, so that they pass as plain
pointers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import EspalierError
from ...files import replacing
from ...runtime.model_file import npy_bytes
from ...sparse_dialect.ir.constants import SMALL, read_attribute
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.ir.walk import blocks
from ...sparse_dialect.lowering.buffers.arguments import ALIGNMENT
from ...sparse_dialect.lowering.buffers.externalize_constants import take_weights
from ...sparse_dialect.lowering.cpu.dispatch_functions import EXECUTABLE, PREFIX, UNITS
from ...sparse_dialect.lowering.cpu.outline_dispatches import WEIGHTS
from ..named import KERNELS
from ..parser import parse_items
from ..pipeline import ROOT, Nest
from ..runner import Runner
from ..target import Target
from .codegen import TargetCode
from .llvm_text import translate

SCOPE = "model"  # of the parameters
# IREE's names of formats, by the architecture in a triple.
FORMATS = {"x86_64": "embedded-elf-x86_64", "aarch64": "embedded-elf-arm_64"}
_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
           "int16": "I16", "int8": "I8", "uint8": "U8"}  # of .safetensors files
CHUNKS = 4  # workgroups a worker, so that one that comes late holds up nobody; as many as in runtime/c/team.c
WORKERS = 8  # on a device that does not say
_EXPORT = """    hal.executable.export public @{name} ordinal({ordinal}) layout(#layout{ordinal}) \
count(%device: !hal.device) -> (index, index, index) {{
      %one = arith.constant 1 : index
      %most = arith.constant {chunks} : index
      %units = arith.constant {units} : index
      %known, %answer = hal.device.query<%device : !hal.device>
          key("hal.dispatch" :: "concurrency") : i1, i64 = {workers} : i64
      %workers = arith.index_cast %answer : i64 to index
      %several = arith.muli %workers, %most : index
      %alone = arith.cmpi ule, %workers, %one : index
      %wanted = arith.select %alone, %one, %several : index
      %items = arith.minui %wanted, %units : index
      hal.return %items, %one, %one : index, index, index
    }}
"""
_FUNCTION = """      func.func private @{symbol}({types}, index, index)
          attributes {{hal.import.static, llvm.bareptr = true}}
      func.func @{name}() {{
        %zero = arith.constant 0 : index
        %item = hal.interface.workgroup.id[0] : index
        %items = hal.interface.workgroup.count[0] : index
{bindings}
        func.call @{symbol}({values}, %item, %items) : ({types}, index, index) -> ()
        return
      }}
"""


@dataclass(frozen=True)
class IreeModule:
    """``text`` for iree-compile, which names the file of ``code``, ``NAME.ARCHITECTURE.o``, and
    ``parameters``."""

    name: str
    architecture: str
    text: str
    code: bytes
    parameters: dict[str, np.ndarray]

    def write(self, folder: Path, inputs: Sequence[np.ndarray] = (),
              outputs: Sequence[np.ndarray] = ()) -> list[Path]:
        """Writes the files into ``folder``, which it makes where it is missing, and a recorded run as
        ``NAME.input_0.npy``, ..., ``NAME.output_0.npy``; their paths."""
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EspalierError(f"cannot make the folder '{folder}': {error.strerror or error}") from error
        files = {f"{self.name}.{self.architecture}.o": self.code, f"{self.name}.mlir": self.text.encode()}
        if self.parameters:
            files[f"{self.name}.safetensors"] = safetensors(self.parameters)
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for number, array in enumerate(arrays):
                files[f"{self.name}.{kind}_{number}.npy"] = npy_bytes(array)
        for name, data in files.items():
            with replacing(folder / name) as file:
                file.write(data)
        return [folder / name for name in files]


def check_target(target: Target) -> str:
    """The architecture of ``target``; raises ``EspalierError`` where IREE has no format for it."""
    architecture = target.triple.partition("-")[0]
    if architecture not in FORMATS:
        raise EspalierError(f"--emit iree: expected a target of {', '.join(FORMATS)}, "
                            f"found '{target.triple}'")
    return architecture


def iree_module(root: ir.Operation, target: Target, name: str) -> IreeModule:
    """What ``sparse-outline-dispatches`` made, ``root``, for ``target``; its kernels leave ``root``."""
    architecture = check_target(target)
    with root.context, ir.Location.unknown(root.context):
        code = TargetCode(_kernel_text(root), target).object
        inner = _inner(root)
        units = {_name(function).removeprefix(PREFIX): ir.IntegerAttr(function.attributes[UNITS]).value
                 for function in _functions(inner, "llvm.func") if UNITS in function.attributes}
        inner.erase()
        parameters = _parameters(root)
        dispatches = list(_dispatches(root))
        for attribute in [entry.name for entry in root.attributes]:
            del root.attributes[attribute]
        aliases, head, body = root.get_asm(use_local_scope=True).partition("module {\n")
    layouts = "".join(f"#layout{at} = {one.layout}\n" for at, one in enumerate(dispatches))
    file = f'"{name}.{architecture}.o"'
    target_text = f'#hal.executable.target<"llvm-cpu", "{FORMATS[architecture]}">'
    executable = (f"  hal.executable.source private @{EXECUTABLE} <objects = <{{{target_text} = "
                  f"[#hal.executable.object<{{path = {file}}}>]}}>> {{\n"
                  + "".join(_EXPORT.format(name=one.name, ordinal=at, units=units[one.name], chunks=CHUNKS,
                                           workers=WORKERS)
                            for at, one in enumerate(dispatches))
                  + "    builtin.module {\n" + "".join(one.function(at) for at, one in enumerate(dispatches))
                  + "    }\n  }\n")
    texts = [f'  util.global private @{key} = #flow.parameter.named<"{SCOPE}"::"{key}"> : {type_}\n'
             for key, (type_, _) in parameters.items()]
    text = f"{aliases}{layouts}{head}{executable if dispatches else ''}{''.join(texts)}{body}"
    return IreeModule(name, architecture, text, code, {key: array for key, (_, array) in parameters.items()})


@dataclass(frozen=True)
class _Dispatch:
    """A dispatch's name, and the types of its bindings, each with whether it is only read."""

    name: str
    bindings: list[tuple[str, bool]]

    @property
    def layout(self) -> str:
        texts = [f"#hal.pipeline.binding<storage_buffer{', ReadOnly' if only else ''}>"
                 for _, only in self.bindings]
        return f"#hal.pipeline.layout<bindings = [{', '.join(texts)}]>"

    def function(self, ordinal: int) -> str:
        """What IREE calls for each workgroup, which calls the object's."""
        types = [type_.replace("tensor<", "memref<", 1) for type_, _ in self.bindings]
        lines = [f"        %b{at} = hal.interface.binding.subspan layout(#layout{ordinal}) binding({at}) "
                 f"alignment(64) offset(%zero) : {type_}" for at, type_ in enumerate(types)]
        values = ", ".join(f"%b{at}" for at in range(len(types)))
        return _FUNCTION.format(symbol=PREFIX + self.name, name=self.name, types=", ".join(types),
                                bindings="\n".join(lines), values=values)


def _dispatches(root: ir.Operation) -> Iterator[_Dispatch]:
    """The dispatches of ``root``: their operands, and behind them the results that are not tied to one."""
    for block in blocks(root):
        for view in block.operations:
            op = view.operation
            if op.name == "flow.dispatch":
                entry = str(ir.ArrayAttr(op.attributes["entry_points"])[0]).rpartition("@")[2]
                tied = [ir.IntegerAttr(at).value for at in ir.ArrayAttr(op.attributes["tied_operands"])]
                bindings = [(str(value.type), at not in tied) for at, value in enumerate(op.operands)]
                fresh = [result for result, at in zip(op.results, tied, strict=True) if at < 0]
                bindings += [(str(result.type), False) for result in fresh]
                yield _Dispatch(entry, bindings)


def _parameters(root: ir.Operation) -> dict[str, tuple[str, np.ndarray]]:
    """The weights, and the other large constants of ``root``, whose users load them from now on: type and
    array by name."""
    block = take_weights(root)
    found = {WEIGHTS: (f"tensor<{block.size}xi8>", block)} if block.size else {}
    for own in list(blocks(root)):
        for op in [view.operation for view in own.operations]:
            if op.name != "arith.constant" or not isinstance(op.results[0].type, ir.RankedTensorType):
                continue
            array = read_attribute(op.attributes["value"])
            if array.size <= SMALL or array.dtype.name not in _DTYPES:
                continue
            key = f"constant_{len(found)}"
            found[key] = str(op.results[0].type), array
            with ir.InsertionPoint(op):
                load = ir.Operation.create("util.global.load", results=[op.results[0].type],
                                           attributes={"global": ir.FlatSymbolRefAttr.get(key)})
            op.results[0].replace_all_uses_with(load.result)
            op.erase()
    return found


def _kernel_text(root: ir.Operation) -> str:
    """The inner module of ``root``, lowered to the LLVM dialect where it stands, as LLVM IR."""
    inner = _inner(root)
    Runner(Nest(ROOT, parse_items(",".join(("sparse-expand-math", *KERNELS)))), verify=False).run(inner)
    return translate(inner)


def _inner(root: ir.Operation) -> ir.Operation:
    return _functions(root, "builtin.module")[0]


def _functions(module: ir.Operation, name: str) -> list[ir.Operation]:
    return [view.operation for view in module.regions[0].blocks[0].operations if view.operation.name == name]


def _name(function: ir.Operation) -> str:
    return str(ir.StringAttr(function.attributes["sym_name"]).value)


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """
    ``arrays`` as a .safetensors file, each at a multiple of 64 bytes, as kernels want their weights even
    where the file is mapped; the format's own writer gives 8. What lies between two is a tensor as well,
    ``padding_N``, since the format has no holes.
    """
    header: dict[str, dict[str, object]] = {}
    pieces: list[bytes] = []
    size = 0
    for name, array in arrays.items():
        padding = np.zeros(-array.nbytes % ALIGNMENT, np.uint8)
        for key, own in ((name, array), (f"padding_{len(header)}", padding)):
            if own is array or own.size:
                header[key] = {"dtype": _DTYPES[own.dtype.name], "shape": list(own.shape),
                               "data_offsets": [size, size + own.nbytes]}
                pieces.append(np.ascontiguousarray(own).tobytes())
                size += own.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, *pieces])
