// RUN: %espalier-opt --sparse-lower-to-spirv %s | FileCheck %s

// A kernel becomes words, which begin with SPIR-V's magic number; its launch stays.
// CHECK: gpu.binary @kernel_0 [#gpu.object<#spirv.target_env<#spirv.vce<v1.3, [Shader], [SPV_KHR_storage_buffer_storage_class]>
// CHECK-SAME: "\03\02#\07
// CHECK-NOT: gpu.module
// CHECK: gpu.launch_func @kernel_0::@main
module attributes {gpu.container_module} {
  gpu.module @kernel_0 {
    gpu.func @main(%x: memref<64xf32, #spirv.storage_class<StorageBuffer>>) kernel attributes {
        spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [64, 1, 1]>} {
      %at = gpu.thread_id x
      %value = memref.load %x[%at] : memref<64xf32, #spirv.storage_class<StorageBuffer>>
      %twice = arith.addf %value, %value : f32
      memref.store %twice, %x[%at] : memref<64xf32, #spirv.storage_class<StorageBuffer>>
      gpu.return
    }
  }
  func.func @main(%x: memref<64xf32, #spirv.storage_class<StorageBuffer>>) {
    %one = arith.constant 1 : index
    %threads = arith.constant 64 : index
    gpu.launch_func @kernel_0::@main blocks in (%one, %one, %one) threads in (%threads, %one, %one)
        args(%x : memref<64xf32, #spirv.storage_class<StorageBuffer>>) {espalier.written = array<i64: 0>}
    return
  }
}
