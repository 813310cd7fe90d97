// One clear line, and a file that was there stays as it was.

// RUN: not %espalier-opt --sparse-externalize-constants=file=/nowhere/weights %s -o %t 2>&1 \
// RUN:   | FileCheck %s --check-prefix=UNWRITABLE
// RUN: not %espalier-opt --sparse-externalize-constants=path=x %s -o %t 2>&1 | FileCheck %s --check-prefix=OPTION

// UNWRITABLE: error: {{.*}}'/nowhere/weights': No such file or directory
// UNWRITABLE-NOT: Traceback
// OPTION: error: {{.*}}path
// OPTION-NOT: Traceback

memref.global "private" constant @table : memref<2xf32> = dense<1.0>
func.func @main(%x: memref<2xf32>) {
  %table = memref.get_global @table : memref<2xf32>
  memref.copy %table, %x : memref<2xf32> to memref<2xf32>
  return
}
