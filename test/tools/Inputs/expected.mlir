func.func @below() -> i32 {
  // expected-error @below {{'func.return' op has 0 operands}}
  return
}

// -----

func.func @same_line_and_regex() -> i32 {
  return // expected-error-re {{has {{[0-9]+}} operands, but}}
}

// -----

func.func @offsets() -> i32 {
  // expected-error @+2 {{has 0 operands}}

  return
}

// -----

func.func @above() -> i32 {
  return
  // expected-error @above {{has 0 operands}}
}

// -----

func.func @two() {
  // expected-note @below {{previously defined here}}
  %0 = arith.constant 1 : i32
  // expected-error @below {{redefinition of SSA value '%0'}}
  %0 = arith.constant 1 : i32
  return
}

// -----

func.func @from_our_pass() {
  // expected-error @below {{'arith.constant' expected the value 1 : i32, found 3 : i32; use 1}}
  %0 = arith.constant 3 : i32
  return
}

// -----

func.func @fine() {
  return
}
