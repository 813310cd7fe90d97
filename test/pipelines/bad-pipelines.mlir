// Every mistake in a pipeline: one line, with the place, exit code 1, no traceback.
// DEFINE: %{opt} = not %espalier-opt %s --load-pass-plugin=%S/Inputs/example_passes.py
// RUN: %{opt} --pass-pipeline='builtin.module(test-mark,test-maark)' 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: %{opt} --pass-pipeline='builtin.module(canonicalise)' 2>&1 | FileCheck %s --check-prefix=UPSTREAM
// RUN: %{opt} --pass-pipeline='builtin.module(test-mark{txt=a})' 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: %{opt} --pass-pipeline='builtin.module(test-mark{kind=number})' 2>&1 | FileCheck %s --check-prefix=VALUE
// RUN: %{opt} --pass-pipeline='builtin.module(test-count)' 2>&1 | FileCheck %s --check-prefix=ANCHOR
// RUN: %{opt} --pass-pipeline='builtin.module(func.func(one-shot-bufferize))' 2>&1 | FileCheck %s --check-prefix=NEST
// RUN: %{opt} --pass-pipeline='builtin.module(canonicalize{max-iterations=few})' 2>&1 | FileCheck %s --check-prefix=NATIVE
// RUN: %{opt} --pass-pipeline='builtin.module(cse' 2>&1 | FileCheck %s --check-prefix=OPEN
// RUN: %{opt} --pass-pipeline='cse' 2>&1 | FileCheck %s --check-prefix=BARE
// RUN: %{opt} --pass-pipeline='func.func(cse)' 2>&1 | FileCheck %s --check-prefix=ROOT
// RUN: %{opt} --pass-pipeline='builtin.module()' --cse 2>&1 | FileCheck %s --check-prefix=BOTH
// RUN: %{opt} --sparse-to-lvm 2>&1 | FileCheck %s --check-prefix=FLAG
// RUN: %{opt} --verify-each=maybe 2>&1 | FileCheck %s --check-prefix=BOOL

// UNKNOWN: espalier-opt: error: pass pipeline, line 1, column 26: unknown pass 'test-maark'; did you mean test-mark
// UNKNOWN-NOT: Traceback
// UPSTREAM: column 16: unknown pass 'canonicalise'; did you mean canonicalize?
// OPTION: column 26: pass 'test-mark' has no option 'txt'; did you mean text?
// VALUE: column 26: option 'kind' of pass 'test-mark' expected string|unit, found 'number'
// ANCHOR: column 16: pass 'test-count' runs on 'func.func', not on 'builtin.module'
// NEST: column 26: pass 'one-shot-bufferize' runs on 'builtin.module', not on 'func.func'
// NATIVE: column 16: pass 'canonicalize' refuses 'max-iterations=few': for the --max-iterations option: 'few' value invalid
// OPEN: column 19: expected ',' or ')'
// BARE: column 1: expected the pipeline to start with an anchor, e.g. 'builtin.module(cse)'
// ROOT: error: the pipeline runs on 'func.func', not on 'builtin.module'
// BOTH: give either --pass-pipeline or pass flags such as --cse, not both
// FLAG: unknown flag or pass --sparse-to-lvm; did you mean sparse-to-llvm
// BOOL: expected true or false, found 'maybe'
