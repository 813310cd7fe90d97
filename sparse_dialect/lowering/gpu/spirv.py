"""From a kernel in gpu, memref, vector, arith and scf to SPIR-V words, by upstream's conversion.

    gpu.module @kernels {
      gpu.func @main(%x: memref<?xvector<4xf32>, #spirv.storage_class<StorageBuffer>>, ...) kernel
          attributes {spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [64, 1, 1]>}
    -> spirv.module Logical GLSL450 { spirv.GlobalVariable @main_arg_0 bind(0, 0) {non_writable} ... }
    -> words: Vulkan 1.1, SPIR-V 1.3, capability Shader

A memref argument is a storage buffer, its number the binding. Upstream never says which buffers are read
only; drivers want to know, for their texture caches, so it is said here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ...errors import EspalierError
from ...ir.mlir import bindings, ir, passmanager
from ..loads.kernel_loads import KEEP

_CONVERSION = ("builtin.module(canonicalize,{cse}convert-math-to-spirv,"
               "convert-gpu-to-spirv{{use-64bit-index=false}},"
               "spirv.module(spirv-lower-abi-attrs,canonicalize,{cse}spirv-update-vce))")
_SERIALISATION = "builtin.module(gpu-module-to-binary)"


def environment(half: bool) -> str:
    """What a kernel may use: of f16, storage in buffers and arithmetic, and nothing more."""
    capabilities = "Shader, Float16, StorageBuffer16BitAccess" if half else "Shader"
    extensions = "SPV_KHR_storage_buffer_storage_class" + (", SPV_KHR_16bit_storage" if half else "")
    return (f"#spirv.target_env<#spirv.vce<v1.3, [{capabilities}], [{extensions}]>, "
            "#spirv.resource_limits<>>")


def words_of(kernel: str, written: Collection[int]) -> bytes:
    """
    The SPIR-V of ``kernel``, the text of one ``gpu.module`` with one function; ``written``: the numbers of
    the buffers that it writes, the others are read only. Raises ``EspalierError`` with MLIR's message where
    something has no form in SPIR-V.
    """
    context = ir.Context()
    context.enable_multithreading(False)  # the serialisation wants one thread
    target = environment(uses_halves(kernel))
    with context, ir.Location.unknown():
        try:
            module = ir.Module.parse(
                f"module attributes {{gpu.container_module, spirv.target_env = {target}}} {{\n{kernel}\n}}")
            cse = "" if KEEP in kernel else "cse,"  # which would share loads
            passmanager.PassManager.parse(_CONVERSION.format(cse=cse)).run(module.operation)
            converted = next(op.operation for op in module.body.operations
                             if op.operation.name == "spirv.module")
            _mark_read_only(converted, written)
            holder = ir.Module.parse(f"module attributes {{gpu.container_module}} {{\n"
                                     f"gpu.module @k [{target}] {{\n{converted.get_asm()}\n}} }}")
            passmanager.PassManager.parse(_SERIALISATION).run(holder.operation)
        except ir.MLIRError as error:
            reason = " ".join(str(error).split())
            raise EspalierError(f"a GPU kernel has no form in SPIR-V: {reason}") from error
        binary = holder.body.operations[0].operation
        return bytes(bindings("dialects.gpu").ObjectAttr(binary.attributes["objects"][0]).object)


def uses_halves(kernel: str) -> bool:
    """Whether the text of a kernel has f16 in it."""
    return re.search(r"\bf16\b|xf16\b", kernel) is not None


def _mark_read_only(module: ir.Operation, written: Collection[int]) -> None:
    for op in module.regions[0].blocks[0].operations:
        attributes = op.operation.attributes
        if op.operation.name == "spirv.GlobalVariable" and "binding" in attributes:
            if ir.IntegerAttr(attributes["binding"]).value not in written:
                attributes["non_writable"] = ir.UnitAttr.get()
