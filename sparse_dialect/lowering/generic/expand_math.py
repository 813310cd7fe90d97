"""``sparse-expand-math``: functions of f32 that no instruction computes become polynomials.

    %y = math.tanh %x : vector<16xf32>
    -> %c = (cut %x) ; %p = vector.fma ... ; %q = vector.fma ... ; %y = arith.divf %p, %q

Vectors and scalars alike, so that an element's value does not depend on where it stands. How exact they are
is said in ``cpu/emit/transcendental.py``; NaN stays NaN, and infinities go where PyTorch's do. Vectors that a
loop divides by one number are multiplied by its reciprocal and put right (``divisions``).
"""

from __future__ import annotations

from collections.abc import Callable
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
            for found in _functions(op):
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
            context.statistics["divisions by one number"] += expand_divisions(op)


def _functions(root: ir.Operation) -> list[ir.Operation]:
    """The operations of f32 that may be written as arithmetic."""
    names = (*FUNCTIONS, "math.powf", "math.fpowi")
    return [op.operation for block in blocks(root) for op in block.operations
            if op.operation.name in names and _is_f32(op.operation.results[0].type)]


def _is_f32(type_: ir.Type) -> bool:
    if isinstance(type_, ir.VectorType):
        vector_type = ir.VectorType(type_)
        return vector_type.rank == 1 and isinstance(vector_type.element_type, ir.F32Type)
    return isinstance(type_, ir.F32Type)


def _is_vector(value: Value) -> bool:
    return isinstance(value.type, ir.VectorType)


def _entry(op: ir.Operation) -> ir.Block:
    """The first block of the function around ``op``."""
    while op.name != "func.func":
        op = op.parent.operation
    return op.regions[0].blocks[0]


def _expanded(op: ir.Operation, b: Builder) -> Value | None:
    """The value of ``op`` as arithmetic; None where it stays."""
    if op.name in ("math.powf", "math.fpowi"):
        return _power(op, b)
    argument = op.operands[0]
    if _is_vector(argument):
        return FUNCTIONS[op.name](b, argument)
    return vector.ExtractOp(FUNCTIONS[op.name](b, b.broadcast(argument)), [], [0]).result


def _power(op: ir.Operation, b: Builder) -> Value | None:
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
    return arith.DivFOp(_one(x, b), value).result if number < 0 else value


def _product(x: Value, times: int) -> Value:
    """``x`` to a positive power, by squaring."""
    if times == 1:
        return x
    half = _product(x, times // 2)
    square = arith.MulFOp(half, half).result
    return arith.MulFOp(square, x).result if times % 2 else square


def _one(x: Value, b: Builder) -> Value:
    return b.splat(1.0) if _is_vector(x) else arith.ConstantOp(x.type, ir.FloatAttr.get(x.type, 1.0)).result


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
