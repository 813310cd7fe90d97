"""What a linalg.generic computes for each element, as lines of a kernel.

    ^bb0(%a: f32, %b: i64):  %c = arith.sitofp %b : i64 to f32;  %d = arith.mulf %a, %c  ->  %v1 = ...

Floating point is f32, f64 of the program too; integers are of 32 bits, as indices; i1 stays. Where nothing
but f32 and comparisons are computed, four elements are computed at once, as vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...errors import op_error
from ...ir.mlir import ir
from .emitter import Emitter
from .kernels.nest import Scope
from .layout import LANES
from .mathematics import FUNCTIONS

_FORMULAS = {"arith.addf": "add", "arith.subf": "sub", "arith.mulf": "mul", "arith.divf": "div",
             "arith.maximumf": "max", "arith.minimumf": "min", "arith.negf": "neg", "math.exp": "exp",
             "math.tanh": "tanh", "math.sqrt": "sqrt"}
_AS_THEY_ARE = ("arith.maxnumf", "arith.minnumf", "math.absf", "math.rsqrt", "math.floor", "math.ceil",
                "math.log", "math.sin", "math.cos")
_OF_INTEGERS = ("arith.addi", "arith.subi", "arith.muli", "arith.divsi", "arith.divui", "arith.remsi",
                "arith.remui", "arith.minsi", "arith.maxsi", "arith.minui", "arith.maxui", "arith.andi",
                "arith.ori", "arith.xori", "arith.shli", "arith.shrsi")
_FLOAT_PREDICATES = ("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult",
                     "ule", "une", "uno", "true")
_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
_NO_CHANGE = ("arith.extf", "arith.truncf", "arith.extsi", "arith.index_cast", "arith.extui",
              "arith.index_castui", "arith.trunci")
_LIMIT = 1 << 31
_INFINITE = float("inf")


def kind_of(type_: ir.Type) -> str | None:
    """What numbers of a type are computed as: f32, index or i1; None where they are not."""
    name = str(type_)
    if name in ("f32", "f64"):
        return "f32"
    return "i1" if name == "i1" else "index" if name in ("i64", "i32", "i8", "index") else None


def constant_number(value: Any) -> float | None:
    """The number that an arith.constant is, if ``value`` is one."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    attribute = owner.operation.attributes["value"]
    if isinstance(attribute, ir.BoolAttr):
        return float(attribute.value)
    if isinstance(attribute, ir.FloatAttr | ir.IntegerAttr):
        return attribute.value
    return None


def _operations(op: Any) -> Iterator[Any]:
    """Of a body."""
    for view in op.regions[0].blocks[0].operations:
        yield view.operation


def captured_by(op: Any) -> list[ir.Value]:
    """The tensors that a body reads elements of."""
    found: list[ir.Value] = []
    for own in _operations(op):
        if own.name == "tensor.extract" and own.operands[0] not in found:
            found.append(own.operands[0])
    return found


def uses_lanes(op: Any) -> bool:
    """Whether a body may compute four elements at once: f32 and comparisons alone."""
    block = op.regions[0].blocks[0]
    values = [*block.arguments, *(value for own in _operations(op) for value in own.results
                                  if own.name != "arith.constant")]
    floats = all(kind_of(value.type) in ("f32", "i1") for value in values)
    return floats and not any(own.name in ("tensor.extract", "linalg.index", "cf.assert") or
                              own.name.startswith("math.fpowi") for own in _operations(op))


class Reader:
    """The body of a linalg.generic; raises ``PassError`` at once where it has an operation of another kind.
    ``number``: what an assertion's text is known by at run time."""

    def __init__(self, op: Any, used: Sequence[int], captured: Sequence[ir.Value],
                 number: Callable[[str], int]) -> None:
        self._op, self._used, self._captured, self._number = op, used, list(captured), number
        for own in _operations(op):
            self._check(own)

    def _check(self, own: Any) -> None:
        known = (*_FORMULAS, *_AS_THEY_ARE, *_OF_INTEGERS, *_NO_CHANGE, *FUNCTIONS, *_OTHERS,
                 "linalg.yield", "arith.constant")
        computed = own.name not in ("arith.constant", "tensor.extract", "arith.select")
        strange = [str(value.type) for value in own.results
                   if kind_of(value.type) is None or (computed and str(value.type) == "i8")]  # it would wrap
        if own.name not in known or strange:
            what = f"'{own.name}'" + (f" of {strange[0]}" if own.name in known else "")
            raise self._unknown(f"{what} in its body")
        for value in own.operands:
            if constant_number(value) is None and self._is_outside(value) and own.name != "tensor.extract":
                raise self._unknown("a number computed outside its body")

    def _is_outside(self, value: Any) -> bool:
        owner = value.owner
        block = owner if isinstance(owner, ir.Block) else owner.operation.block
        return bool(block != self._op.regions[0].blocks[0])

    def _unknown(self, found: str) -> Exception:
        return op_error(self._op, "arithmetic of f32 and integers", found,
                        "there is no GPU kernel for it; compile for a CPU")

    def body(self, scope: Scope) -> list[str]:
        """The results for one element, or four."""
        block = self._op.regions[0].blocks[0]
        arguments = list(block.arguments)
        names: dict[Any, str] = {}
        for at, value in zip(self._used, scope.inputs, strict=True):
            names[arguments[at]] = value
        names.update(zip(arguments[len(arguments) - len(scope.sums) :], scope.sums, strict=True))
        writer = _Writer(self, scope, names)
        for own in _operations(self._op):
            if own.name == "linalg.yield":
                return writer.results(own)
            writer.write(own)
        raise AssertionError("a body without a yield")


class _Writer:
    """Writes the operations of a body for one scope."""

    def __init__(self, reader: Reader, scope: Scope, names: dict[Any, str]) -> None:
        self._reader, self._scope, self._names = reader, scope, names
        self.e: Emitter = scope.e

    def type_of(self, kind: str) -> str:
        """Of numbers of a kind here."""
        return f"vector<{LANES}x{kind}>" if self._scope.wide else kind

    def results(self, end: Any) -> list[str]:
        """What is yielded."""
        return [self.value(value) for value in end.operands]

    def value(self, value: Any) -> str:
        """The name of an operand; constants are written where they are used first."""
        if value not in self._names:
            number = constant_number(value)
            assert number is not None
            self._names[value] = self.number(number, kind_of(value.type) or "")
        return self._names[value]

    def number(self, number: float, kind: str) -> str:
        """A constant."""
        if kind == "f32":
            return self.e.real(_as_float(number), self.type_of("f32"))
        if kind == "i1":
            text = "true" if number else "false"
            return self.e.new(f"arith.constant {f'dense<{text}>' if self._scope.wide else text} : "
                              f"{self.type_of('i1')}")
        return self.e.index(max(-_LIMIT, min(_LIMIT - 1, int(number))))

    def write(self, own: Any) -> None:
        """One operation."""
        if own.name == "arith.constant":
            return
        if own.name == "cf.assert":
            text = ir.StringAttr(own.attributes["msg"]).value
            self.e.fail_unless(self.value(own.operands[0]), self._reader._number(text))
            return
        if own.name == "tensor.extract":
            places = [self.value(value) for value in list(own.operands)[1:]]
            number = self._reader._captured.index(own.operands[0])
            self._names[own.results[0]] = self._scope.captured(number, places)
            return
        if own.name == "linalg.index":
            self._names[own.results[0]] = self._scope.loops[ir.IntegerAttr(own.attributes["dim"]).value]
            return
        operands = [self.value(value) for value in own.operands]
        self._names[own.results[0]] = self._written(own, operands)

    def _written(self, own: Any, operands: list[str]) -> str:
        e, kind = self.e, kind_of(own.results[0].type) or ""
        type_ = self.type_of(kind)
        if own.name in _FORMULAS:
            return e.applied(_FORMULAS[own.name], operands, type_)
        if own.name in FUNCTIONS:
            exponent = constant_number(own.operands[1]) if len(own.operands) > 1 else None
            return FUNCTIONS[own.name](e, operands, type_, exponent)
        if own.name in _NO_CHANGE:
            return self._changed(own, operands[0], kind)
        if own.name in _OTHERS:
            return _OTHERS[own.name](self, own, operands)
        return e.new(f"{own.name} {', '.join(operands)} : {type_}")

    def _changed(self, own: Any, operand: str, kind: str) -> str:
        """Between types that are one here, and of i1."""
        e, before = self.e, kind_of(own.operands[0].type)
        if before == kind:
            return self._unsigned(own, operand)
        if before == "i1":
            return e.chosen(operand, e.index(-1 if own.name == "arith.extsi" else 1), e.index(0))
        lowest = e.new(f"arith.andi {operand}, {e.index(1)} : index")
        return e.new(f"arith.cmpi ne, {lowest}, {e.index(0)} : index")

    def compared(self, own: Any, operands: list[str]) -> str:
        """arith.cmpf and arith.cmpi."""
        number = ir.IntegerAttr(own.attributes["predicate"]).value
        table = _FLOAT_PREDICATES if own.name == "arith.cmpf" else _PREDICATES
        type_ = self.type_of(kind_of(own.operands[0].type) or "")
        return self.e.new(f"{own.name} {table[number]}, {', '.join(operands)} : {type_}")

    def selected(self, own: Any, operands: list[str]) -> str:
        """arith.select."""
        type_ = self.type_of(kind_of(own.results[0].type) or "")
        types = f"{self.type_of('i1')}, {type_}" if self._scope.wide else type_
        return self.e.new(f"arith.select {', '.join(operands)} : {types}")

    def to_float(self, own: Any, operands: list[str]) -> str:
        """arith.sitofp and uitofp."""
        e = self.e
        if kind_of(own.operands[0].type) == "i1":
            one = -1.0 if own.name == "arith.sitofp" else 1.0
            type_ = self.type_of("f32")
            types = f"{self.type_of('i1')}, {type_}" if self._scope.wide else type_
            return e.new(f"arith.select {operands[0]}, {e.real(one, type_)}, {e.real(0, type_)} : {types}")
        number = e.new(f"arith.index_cast {self._unsigned(own, operands[0])} : index to i32")
        return e.new(f"{own.name} {number} : i32 to f32")

    def _unsigned(self, own: Any, operand: str) -> str:
        """A byte, which is kept with its sign, as the operation takes it."""
        if own.name not in ("arith.extui", "arith.uitofp") or str(own.operands[0].type) != "i8":
            return operand
        return self.e.new(f"arith.andi {operand}, {self.e.index(255)} : index")

    def to_integer(self, own: Any, operands: list[str]) -> str:
        """arith.fptosi and fptoui."""
        return self.e.new(f"arith.index_cast {self.e.new(f'arith.fptosi {operands[0]} : f32 to i32')} "
                          ": i32 to index")

    def divided_down(self, own: Any, operands: list[str]) -> str:
        """arith.floordivsi and ceildivsi."""
        e, (a, b) = self.e, operands
        quotient, rest = e.new(f"arith.divsi {a}, {b} : index"), e.new(f"arith.remsi {a}, {b} : index")
        zero = e.index(0)
        uneven = e.new(f"arith.cmpi ne, {rest}, {zero} : index")
        signs = e.new(f"arith.xori {a}, {b} : index")
        down = own.name == "arith.floordivsi"
        moved = e.both(uneven, e.new(f"arith.cmpi {'slt' if down else 'sge'}, {signs}, {zero} : index"))
        return e.chosen(moved, e.add(quotient, -1 if down else 1), quotient)

    def magnitude(self, own: Any, operands: list[str]) -> str:
        """math.absi."""
        e = self.e
        return e.new(f"arith.maxsi {operands[0]}, {e.new(f'arith.subi {e.index(0)}, {operands[0]} : index')} "
                     ": index")


def _as_float(number: float) -> float:
    """In the range of f32."""
    if abs(number) > 3.4028234663852886e38:
        return _INFINITE if number > 0 else -_INFINITE
    return number


_OTHERS: dict[str, Callable[[_Writer, Any, list[str]], str]] = {
    "arith.cmpf": _Writer.compared, "arith.cmpi": _Writer.compared, "arith.select": _Writer.selected,
    "arith.sitofp": _Writer.to_float, "arith.uitofp": _Writer.to_float, "arith.fptosi": _Writer.to_integer,
    "arith.fptoui": _Writer.to_integer, "arith.floordivsi": _Writer.divided_down,
    "arith.ceildivsi": _Writer.divided_down, "math.absi": _Writer.magnitude,
    "tensor.extract": lambda *_: "", "linalg.index": lambda *_: "", "cf.assert": lambda *_: ""}
