// Code calls what the program or the C library has, and nothing else is left.

// RUN: %espalier-opt --convert-vector-to-llvm --convert-math-to-libm --convert-to-llvm --sparse-check-code --split-input-file --verify-diagnostics %s

func.func @well(%x: f32) -> f32 {
  %0 = math.cbrt %x : f32
  %1 = func.call @inner(%0) : (f32) -> f32
  return %1 : f32
}
func.func private @inner(%x: f32) -> f32 { return %x : f32 }

// -----

func.func @prints(%x: f32) {
  // expected-error @below {{'llvm.call' expected a function of the program or of the C library, found @printF32; a compiled model prints nothing: take vector.print out}}
  vector.print %x : f32
  return
}

// -----

llvm.func @elsewhere(f32) -> f32
func.func @calls(%x: f32) -> f32 {
  // expected-error @below {{'llvm.call' expected a function of the program or of the C library, found @elsewhere; give it a body}}
  %0 = llvm.call @elsewhere(%x) : (f32) -> f32
  return %0 : f32
}

// -----

func.func @stays() {
  // expected-error @below {{'async.execute' expected an operation that becomes LLVM's dialect, found one that stays}}
  %0 = async.execute { async.yield }
  async.await %0 : !async.token
  return
}
