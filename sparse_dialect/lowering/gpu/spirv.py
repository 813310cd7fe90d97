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

from collections.abc import Collection

from ...errors import EspalierError
from ...ir.mlir import bindings, ir, passmanager

TARGET = ("#spirv.target_env<#spirv.vce<v1.3, [Shader], [SPV_KHR_storage_buffer_storage_class]>, "
          "#spirv.resource_limits<>>")
_CONVERSION = ("builtin.module(canonicalize,cse,convert-gpu-to-spirv{use-64bit-index=false},"
               "spirv.module(spirv-lower-abi-attrs,canonicalize,cse,spirv-update-vce))")
_SERIALISATION = "builtin.module(gpu-module-to-binary)"


def words_of(kernel: str, written: Collection[int]) -> bytes:
    """
    The SPIR-V of ``kernel``, the text of one ``gpu.module`` with one function; ``written``: the numbers of
    the buffers that it writes, the others are read only. Raises ``EspalierError`` with MLIR's message where
    something has no form in SPIR-V.
    """
    context = ir.Context()
    context.enable_multithreading(False)  # the serialisation wants one thread
    with context, ir.Location.unknown():
        try:
            module = ir.Module.parse(
                f"module attributes {{gpu.container_module, spirv.target_env = {TARGET}}} {{\n{kernel}\n}}")
            passmanager.PassManager.parse(_CONVERSION).run(module.operation)
            converted = next(op.operation for op in module.body.operations
                             if op.operation.name == "spirv.module")
            _mark_read_only(converted, written)
            holder = ir.Module.parse(f"module attributes {{gpu.container_module}} {{\n"
                                     f"gpu.module @k [{TARGET}] {{\n{converted.get_asm()}\n}} }}")
            passmanager.PassManager.parse(_SERIALISATION).run(holder.operation)
        except ir.MLIRError as error:
            reason = " ".join(str(error).split())
            raise EspalierError(f"a GPU kernel has no form in SPIR-V: {reason}") from error
        binary = holder.body.operations[0].operation
        return bytes(bindings("dialects.gpu").ObjectAttr(binary.attributes["objects"][0]).object)


def _mark_read_only(module: ir.Operation, written: Collection[int]) -> None:
    for op in module.regions[0].blocks[0].operations:
        attributes = op.operation.attributes
        if op.operation.name == "spirv.GlobalVariable" and "binding" in attributes:
            if ir.IntegerAttr(attributes["binding"]).value not in written:
                attributes["non_writable"] = ir.UnitAttr.get()
