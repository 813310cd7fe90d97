"""``sparse-lower-to-spirv``: kernels in gpu, memref, vector, arith and scf become words.

    gpu.module @kernel_0 { gpu.func @main(%x: memref<..xvector<4xf32>>, ...) kernel { ... } }
    -> gpu.binary @kernel_0 [#gpu.object<#spirv.target_env<...>, bin = "\\03\\02#\\07...">]

The function that launches them stays as it is. ``spirv.py`` converts, by upstream's passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import EspalierError, op_error
from ...ir.mlir import bindings, ir
from ...ir.values import text_of
from ...passes import Pass, PassContext
from .spirv import environment, uses_halves, words_of

gpu: Any = bindings("dialects.gpu")
_BINARY = 3  # gpu.CompilationTarget


@dataclass(frozen=True)
class LowerToSpirvPass(Pass):
    """
    Converts every ``gpu.module`` to SPIR-V words in a ``gpu.binary``: Vulkan 1.1, SPIR-V 1.3, capability
    Shader, of f16 Float16 and StorageBuffer16BitAccess too, and nothing more.

    What launches do not list in ``espalier.written`` is marked read only.
    """

    name = "sparse-lower-to-spirv"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            written = _written(op)
            for view in list(op.regions[0].blocks[0].operations):
                if view.operation.name == "gpu.module":
                    context.statistics["bytes of words"] += _convert(view.operation, written)


def _written(op: ir.Operation) -> dict[str, set[int]]:
    """The buffers that each kernel writes, by its module's name."""
    found: dict[str, set[int]] = {}

    def read(own: ir.Operation) -> ir.WalkResult:
        if own.name == "gpu.launch_func" and "espalier.written" in own.attributes:
            numbers = ir.DenseI64ArrayAttr(own.attributes["espalier.written"])
            found.setdefault(kernel_of(own), set()).update(numbers)
        return ir.WalkResult.ADVANCE

    op.walk(read)
    return found


def kernel_of(launch: ir.Operation) -> str:
    """The name of the module whose function a launch runs."""
    return str(launch.attributes["kernel"]).split("::")[0].removeprefix("@")


def _convert(module: ir.Operation, written: dict[str, set[int]]) -> int:
    """Puts a binary in the module's place; the bytes of its words."""
    name, text = text_of(module.attributes, "sym_name"), module.get_asm()
    try:
        words = words_of(text, written.get(name, set()))
    except EspalierError as error:
        raise op_error(module, "a kernel that SPIR-V can express", str(error)) from error
    target = ir.Attribute.parse(environment(uses_halves(text)))
    objects = ir.ArrayAttr.get([gpu.ObjectAttr.get(target, _BINARY, words)])
    attributes = {
        "sym_name": ir.StringAttr.get(name),
        "objects": objects,
        "offloadingHandler": ir.Attribute.parse("#gpu.select_object"),  # printing needs it
    }
    with ir.InsertionPoint(module):
        ir.Operation.create("gpu.binary", attributes=attributes)
    module.erase()
    return len(words)


def words_in(binary: ir.Operation) -> bytes:
    """The words of a ``gpu.binary`` that this pass made."""
    return bytes(gpu.ObjectAttr(ir.ArrayAttr(binary.attributes["objects"])[0]).object)


def needs_halves(binary: ir.Operation) -> bool:
    """Whether the words of a ``gpu.binary`` need fp16 of the device."""
    return "Float16" in str(gpu.ObjectAttr(ir.ArrayAttr(binary.attributes["objects"])[0]).target)
