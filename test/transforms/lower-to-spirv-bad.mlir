// RUN: %espalier-opt --sparse-lower-to-spirv --verify-diagnostics %s

// What has no form in SPIR-V is an error with the kernel's place.
module attributes {gpu.container_module} {
  // expected-error @below {{'gpu.module' expected a kernel that SPIR-V can express, found a GPU kernel has no form in SPIR-V}}
  gpu.module @kernel_0 {
    gpu.func @main(%x: memref<64xvector<3x5xf32>, #spirv.storage_class<StorageBuffer>>) kernel attributes {
        spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [64, 1, 1]>} {
      %at = gpu.thread_id x
      %value = memref.load %x[%at] : memref<64xvector<3x5xf32>, #spirv.storage_class<StorageBuffer>>
      memref.store %value, %x[%at] : memref<64xvector<3x5xf32>, #spirv.storage_class<StorageBuffer>>
      gpu.return
    }
  }
}
