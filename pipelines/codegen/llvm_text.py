"""LLVM-dialect modules as LLVM IR text that LLVM 22 reads.

The MLIR bindings translate to LLVM 24's text; every packaged code generator is LLVM 22. Two things differ
in what we emit: floating-point literals, and attributes on the declarations of intrinsics.

    fadd float %0, 1.000000e-01              ->  fadd float %0, 0x3FB99999A0000000
    select i1 %c, float %x, float +qnan      ->  select i1 %c, float %x, float 0x7FF8000000000000
    declare i64 @llvm.smin.i64(i64, i64) #0  ->  declare i64 @llvm.smin.i64(i64, i64)
    attributes #0 = { nocreateundeforpoison ... }  ->

LLVM 22 takes decimals only where they are exact in binary, and gives intrinsics their attributes itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache

from ...errors import EspalierError
from ...sparse_dialect.ir.mlir import bindings, ir

_FORMATS = {"half": (5, 10, "<e"), "bfloat": (8, 7, ""), "float": (8, 23, "<f"), "double": (11, 52, "<d")}
_TYPE = re.compile(r"\b(?:half|bfloat|float|double)\b")
_LITERAL = re.compile(r"(?<=[ (])(?:[+-]?\d+\.\d+(?:e[+-]\d+)?|[+-](?:inf|qnan|s?nan\(0x[0-9A-Fa-f]+\))"
                      r"|f0x[0-9A-Fa-f]+)(?![\w.])")
_INTRINSIC = re.compile(r"^(declare [^\n]*@llvm\.[^\n]*\))( #\d+)$", re.MULTILINE)
_GROUP = re.compile(r"^attributes (#\d+) = [^\n]*\n", re.MULTILINE)


def translate(module: ir.Operation) -> str:
    """``module`` (LLVM dialect only) as LLVM 22 text; ``EspalierError`` names what has no translation."""
    foreign = sorted({name for name in _names(module) if not name.startswith("llvm.")})
    if foreign:  # the translation would end the process
        raise EspalierError(f"expected code in the LLVM dialect, found {', '.join(foreign)}; "
                            f"run the pipeline sparse-to-llvm first")
    return for_llvm22(bindings("dialects.llvm").translate_module_to_llvmir(module))


def _names(op: ir.Operation) -> Iterator[str]:
    """The names of all operations inside ``op``."""
    for region in op.regions:
        for block in region.blocks:
            for view in block.operations:
                yield view.operation.name
                yield from _names(view.operation)


def for_llvm22(text: str) -> str:
    """LLVM 24's IR text in LLVM 22's spelling."""
    text = _INTRINSIC.sub(r"\1", text)
    used = set(re.findall(r"[ )](#\d+)(?= |$)", _GROUP.sub("", text), re.MULTILINE))
    text = _GROUP.sub(lambda group: group[0] if group[1] in used else "", text)
    return _LITERAL.sub(_rewritten, text)


def _rewritten(found: re.Match[str]) -> str:
    """A literal in the form that its type wants: the scalar type named last in front of it on its line."""
    text = found.string
    before = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
    if before.count('"') % 2:  # inside a string, which escapes its own quotes as \22
        return found[0]
    return literal(found[0], _TYPE.findall(before)[-1])


@cache
def literal(text: str, type_: str) -> str:
    """A literal of ``type_`` (half, bfloat, float, double) as the hexadecimal form that LLVM 22 reads."""
    bits = _bits(text, type_)
    if type_ in ("half", "bfloat"):
        return f"0x{type_[0].upper().replace('B', 'R')}{bits:04X}"
    return f"0x{bits if type_ == 'double' else _widened(bits):016X}"


def _bits(text: str, type_: str) -> int:
    """The bit pattern of a literal."""
    exponent, mantissa, code = _FORMATS[type_]
    if text.startswith("f0x"):
        return int(text[3:], 16)
    sign = text.startswith("-") << exponent + mantissa
    infinity = ((1 << exponent) - 1) << mantissa
    quiet = 1 << mantissa - 1
    payload = int(text[text.index("0x") + 2 : -1], 16) if "nan(" in text else 0
    if text[1:] == "inf":
        return sign | infinity
    if "nan" in text:
        return sign | infinity | payload | (0 if "snan" in text else quiet)
    if code:
        packed = struct.pack(code, float(text))
        return int.from_bytes(packed, "little")
    wide = int.from_bytes(struct.pack("<f", float(text)), "little")
    return (wide + 0x7FFF + (wide >> 16 & 1)) >> 16  # to the nearest bfloat, ties to even


def _widened(bits: int) -> int:
    """The bits of the double that a float's bits stand for; NaNs keep payload and signalling bit."""
    if bits & 0x7F800000 == 0x7F800000:
        return bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29
    value = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return int.from_bytes(struct.pack("<d", value), "little")
