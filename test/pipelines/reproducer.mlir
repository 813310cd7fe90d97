// A failing pass leaves a file with the IR before it and the pipeline from it on; espalier-opt runs it as it is.
// DEFINE: %{opt} = %espalier-opt %s --load-pass-plugin=%S/Inputs/example_passes.py --mlir-pass-pipeline-crash-reproducer=%t.repro
// RUN: not %{opt} --cse --test-mark --test-refuse --canonicalize 2>&1 | FileCheck %s --check-prefix=ERROR
// RUN: FileCheck %s --check-prefix=FILE --input-file=%t.repro
// RUN: not %espalier-opt %t.repro --run-reproducer --load-pass-plugin=%S/Inputs/example_passes.py 2>&1 | FileCheck %s --check-prefix=AGAIN

// A file is no command line: without --run-reproducer it is IR, and with it, it loads no code and writes no file.
// RUN: %espalier-opt %t.repro 2>&1 | FileCheck %s --check-prefix=DATA
// RUN: not %espalier-opt %t.repro --run-reproducer 2>&1 | FileCheck %s --check-prefix=NO-PLUGIN
// RUN: echo "// espalier-opt reproducer: --load-pass-plugin=%S/Inputs/example_passes.py --pass-pipeline=builtin.module(test-mark)" > %t.evil
// RUN: not %espalier-opt %t.evil --run-reproducer 2>&1 | FileCheck %s --check-prefix=PLUGIN
// RUN: rm -f %t.out && echo "// espalier-opt reproducer: -o %t.out --pass-pipeline=builtin.module(cse)" > %t.evil
// RUN: not %espalier-opt %t.evil --run-reproducer 2>&1 | FileCheck %s --check-prefix=OUTPUT
// RUN: %espalier-opt %t.evil && not ls %t.out
// RUN: echo "// espalier-opt reproducer: 'open" > %t.evil && not %espalier-opt %t.evil --run-reproducer 2>&1 | FileCheck %s --check-prefix=QUOTE

// A pass that leaves invalid IR, and one with a bug.
// RUN: not %{opt} --test-break 2>&1 | FileCheck %s --check-prefix=BREAK
// RUN: not %{opt} --test-bug 2>&1 | FileCheck %s --check-prefix=BUG

// No reproducer where none is wanted, and a warning where it cannot be written.
// RUN: rm -f %t.repro && not %{opt} --mlir-pass-pipeline-crash-reproducer= --test-refuse 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not ls %t.repro
// RUN: not %{opt} --mlir-pass-pipeline-crash-reproducer=/nowhere/x.mlir --test-refuse 2>&1 | FileCheck %s --check-prefix=UNWRITABLE
// RUN: not %espalier-opt %s --run-reproducer 2>&1 | FileCheck %s --check-prefix=FOREIGN

// ERROR: reproducer.mlir:{{[0-9]+}}:8: error: 'arith.constant' expected the value 1 : i32, found 2 : i32; use 1
// ERROR-NEXT: note: pass 'test-refuse' failed; 'espalier-opt {{.*}}.repro --run-reproducer --load-pass-plugin={{.*}}' repeats it
// ERROR-NOT: Traceback
// FILE: // espalier-opt reproducer:
// FILE-SAME: --pass-pipeline=builtin.module(test-refuse,canonicalize)
// FILE: test.mark = "seen"
// FILE-NOT: plugin
// DATA: note: {{.*}}.repro records a pipeline; --run-reproducer runs it
// DATA: test.mark = "seen"
// NO-PLUGIN: error: {{.*}}test-refuse
// PLUGIN: error: the reproducer asks for '--load-pass-plugin={{.*}}', which no file may; where it is wanted, give it on the
// OUTPUT: error: the reproducer asks for '-o', which no file may
// QUOTE: error: the reproducer's first line is damaged: No closing quotation
// AGAIN: error: 'arith.constant' expected the value 1 : i32, found 2 : i32; use 1
// AGAIN-NOT: repeats it
// BREAK: error: 'func.func' op requires attribute 'function_type'
// BREAK-NEXT: note: pass 'test-break' failed
// BUG: error: pass 'test-bug' has a bug: KeyError: 'forgotten'
// NONE-NOT: repeats it
// UNWRITABLE: warning: no reproducer: cannot write '/nowhere/x.mlir': No such file or directory
// FOREIGN: reproducer.mlir is no reproducer

func.func @a() -> i32 {
  %0 = arith.constant 2 : i32
  return %0 : i32
}
