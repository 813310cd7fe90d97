"""``sparse-expand-math``: functions of f32 that no instruction computes become polynomials.

    %y = math.tanh %x : vector<16xf32>
    -> %c = (cut %x) ; %p = vector.fma ... ; %q = vector.fma ... ; %y = arith.divf %p, %q

Vectors and scalars alike, so that an element's value does not depend on where it stands. How exact they are
is said in ``cpu/emit/transcendental.py``; NaN stays NaN, and infinities go where PyTorch's do. Of f64, powers
become products too, and log1p and expm1 are put right by log and exp: upstream adds or subtracts 1. Vectors
that a loop divides by one number are multiplied by its reciprocal (``divisions``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ...devices.cores import core_named
from ...dialect.schedules import device_of
from ...ir.mlir import bindings, ir
from ...ir.walk import blocks
from ...passes import Pass, PassContext
from ..cpu.emit import transcendental
from ..cpu.emit.builder import Builder, Value, arith
from .divisions import expand_divisions

vector: Any = bindings("dialects.vector")

FUNCTIONS: dict[str, Callable[[Builder, Value], Value]] = {
    "math.exp": transcendental.exp, "math.expm1": transcendental.expm1, "math.log": transcendental.log,
    "math.log1p": transcendental.log1p, "math.tanh": transcendental.tanh, "math.erf": transcendental.erf,
    "math.rsqrt": transcendental.rsqrt}
ACCURATE = ("math.log1p", "math.expm1")
POWERS = ("math.powf", "math.fpowi")
LARGEST_POWER = 16  # a constant exponent up to this is a few products, within some ulp


@dataclass(frozen=True)
class ExpandMathPass(Pass):
    """
    Writes exp, expm1, log, log1p, tanh, erf and rsqrt of f32, powers of small exponents, and divisions by one
    number as arithmetic.

    Other functions of the math dialect, and other types, stay: they are instructions, or calls of the C
    library.
    """

    name = "sparse-expand-math"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        core = core_named(device_of(op).core)
        with op.context, ir.Location.unknown(op.context):
            builders: dict[Any, Builder] = {}
            for found in _of(op, (*FUNCTIONS, *POWERS), ir.F32Type):
                result = found.results[0]
                entry = _entry(found)
                lanes = ir.VectorType(result.type).shape[0] if _is_vector(result) else 1
                builder = builders.setdefault((entry, lanes), Builder(entry, lanes, core))
                with found.location, ir.InsertionPoint(found):
                    value = _expanded(found, builder)
                if value is not None:
                    result.replace_all_uses_with(value)
                    context.statistics[f"{found.name} expanded"] += 1
                    found.erase()
            for found in _of(op, (*ACCURATE, *POWERS), ir.F64Type):
                with found.location, ir.InsertionPoint(found):
                    value = _power(found) if found.name in POWERS else _accurate(found.name,
                                                                                 found.operands[0])
                if value is not None:
                    found.results[0].replace_all_uses_with(value)
                    found.erase()
            context.statistics["divisions by one number"] += expand_divisions(op)


def _of(root: ir.Operation, names: Collection[str], element: type[ir.Type]) -> list[ir.Operation]:
    """The operations ``names`` of scalars, or vectors, of ``element``."""
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name in names and _holds(op.operation.results[0].type, element)]


def _holds(type_: ir.Type, element: type[ir.Type]) -> bool:
    if isinstance(type_, ir.VectorType):
        vector_type = ir.VectorType(type_)
        return vector_type.rank == 1 and isinstance(vector_type.element_type, element)
    return isinstance(type_, element)


def _accurate(name: str, x: Value) -> Value:
    """log1p or expm1 of f64 ``x``: what rounding takes from 1 + x, or exp(x), is put right by what it leaves
    (Kahan; Higham, Accuracy and Stability of Numerical Algorithms, 1.14)."""
    def call(function: str, value: Value) -> Value:
        return ir.Operation.create(function, results=[x.type], operands=[value]).result

    def where(same: Value, value: Value, then: Value, other: Value) -> Value:
        return arith.SelectOp(arith.CmpFOp(arith.CmpFPredicate.OEQ, same, value).result, then, other).result

    one = _constant_like(x, 1.0)
    if name == "math.log1p":
        rounded = arith.AddFOp(one, x).result
        far = call("math.log", rounded)
        value = arith.MulFOp(far, arith.DivFOp(x, arith.SubFOp(rounded, one).result).result).result
    else:
        rounded = far = call("math.exp", x)
        left = arith.SubFOp(rounded, one).result
        value = arith.MulFOp(left, arith.DivFOp(x, call("math.log", rounded)).result).result
        value = where(left, _constant_like(x, -1.0), left, value)
    value = where(rounded, _constant_like(x, float("inf")), far, value)
    return where(rounded, one, x, value)


def _is_vector(value: Value) -> bool:
    return isinstance(value.type, ir.VectorType)


def _entry(op: ir.Operation) -> ir.Block:
    """The first block of the function around ``op``."""
    while op.name != "func.func":
        op = op.parent.operation
    return op.regions[0].blocks[0]


def _expanded(op: ir.Operation, b: Builder) -> Value | None:
    """The value of ``op`` as arithmetic; None where it stays."""
    if op.name in POWERS:
        return _power(op)
    argument = op.operands[0]
    if _is_vector(argument):
        return FUNCTIONS[op.name](b, argument)
    return vector.ExtractOp(FUNCTIONS[op.name](b, b.broadcast(argument)), [], [0]).result


def _power(op: ir.Operation) -> Value | None:
    """``x`` to a constant: products, or a root, where PyTorch too needs no logarithm; else a call."""
    x, exponent = op.operands
    number = _constant(exponent)
    if number is not None and number == int(number) and 0 < abs(number) <= LARGEST_POWER:
        value = _product(x, abs(int(number)))
    elif number in (0.5, -0.5):
        value = ir.Operation.create("math.sqrt", results=[x.type], operands=[x]).result
    elif op.name == "math.fpowi":  # no power of integers takes vectors
        exponent = arith.SIToFPOp(x.type, exponent).result
        return ir.Operation.create("math.powf", results=[x.type], operands=[x, exponent]).result
    else:
        return None
    return arith.DivFOp(_constant_like(x, 1.0), value).result if number < 0 else value


def _product(x: Value, times: int) -> Value:
    """``x`` to a positive power, by squaring."""
    if times == 1:
        return x
    half = _product(x, times // 2)
    square = arith.MulFOp(half, half).result
    return arith.MulFOp(square, x).result if times % 2 else square


def _constant_like(x: Value, number: float) -> Value:
    """``number`` of the type of ``x``."""
    attribute = ir.FloatAttr.get(ir.VectorType(x.type).element_type if _is_vector(x) else x.type, number)
    return arith.ConstantOp(x.type, ir.DenseElementsAttr.get_splat(x.type, attribute) if _is_vector(x)
                            else attribute).result


def _constant(value: Value) -> float | None:
    """The number that ``value`` is in every lane, if that is known."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    op = owner.operation
    if op.name == "vector.broadcast":
        return _constant(op.operands[0])
    if op.name != "arith.constant":
        return None
    attribute = op.attributes["value"]
    if isinstance(attribute, ir.DenseElementsAttr):
        dense = ir.DenseElementsAttr(attribute)
        return _number(dense.get_splat_value()) if dense.is_splat else None
    return _number(attribute)


def _number(attribute: ir.Attribute) -> float:
    kind = ir.IntegerAttr if isinstance(attribute, ir.IntegerAttr) else ir.FloatAttr
    return float(kind(attribute).value)
