"""``sparse-check-code``: what code asks for when it is loaded is there, or one error says what is not.

    llvm.call @printF32(%x)     error: expected a function of the program or of the C library, found @printF32
    async.execute { ... }       error: expected an operation that becomes LLVM's dialect, found one that stays

It stands where everything was lowered that can be, and operations still know their places in the source. Of
the C library that is what upstream's lowerings of ``math`` and ``memref`` call, on every target; MLIR's own
runner has more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import op_error
from ...ir.mlir import ir
from ...ir.walk import with_inner
from ...passes import Pass, PassContext

_MATH = ("acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 fabs floor fma "
         "fmod log log10 log1p log2 pow rint round roundeven sin sinh sqrt tan tanh trunc").split()
C_LIBRARY = frozenset([*_MATH, *(f"{name}f" for name in _MATH),
                       "abort", "aligned_alloc", "free", "malloc", "memcpy", "memmove", "memset"])
_CAST = "builtin.unrealized_conversion_cast"


@dataclass(frozen=True)
class CheckCodePass(Pass):
    """
    Refuses operations outside LLVM's dialect, and calls of functions that no target has.
    """

    name = "sparse-check-code"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        inner = with_inner(op)[1:]
        foreign = [one for one in inner if not one.name.startswith("llvm.")]
        if foreign:  # casts are what another one, which stays, left
            named = next((one for one in foreign if one.name != _CAST), foreign[0])
            raise op_error(named, "an operation that becomes LLVM's dialect", "one that stays",
                           _hint(named.name, "write it in arith, math, linalg, tensor or scf"))
        functions = {ir.StringAttr(one.attributes["sym_name"]).value: one
                     for one in inner if one.name == "llvm.func"}
        for one in inner:
            if one.name == "llvm.call" and "callee" in one.attributes:
                _check_call(one, functions)


def _check_call(call: ir.Operation, functions: Mapping[str, ir.Operation]) -> None:
    """Raises where the function that ``call`` names is nowhere."""
    name = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
    if list(functions[name].regions[0].blocks) or name in C_LIBRARY or name.startswith("llvm."):
        return
    raise op_error(call, "a function of the program or of the C library", f"@{name}",
                   _hint(name, "give it a body"))


def _hint(name: str, otherwise: str) -> str:
    """What to do about ``name``, an operation or a function."""
    return "a compiled model prints nothing: take vector.print out" if "print" in name else otherwise
