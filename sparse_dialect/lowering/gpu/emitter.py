"""Writes the text of one kernel: a value a line, index constants once.

Sums are kept in f32. With ``half`` tensors and weights are f16, and so are products and short sums:
``vector`` and ``element`` are the types that buffers hold, ``WIDE`` and ``f32`` those of sums.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...activations import activation_named, evaluate
from .layout import LANES

THREADS = 64  # of a workgroup, in one row: some drivers give wrong results for near-square ones
WIDE = "vector<4xf32>"


@dataclass(frozen=True)
class Buffer:
    """A kernel's argument: ``count`` elements of ``element`` (``f32``, ``f16``, ``i32`` or a vector)."""

    name: str
    element: str
    count: int
    written: bool = False

    @property
    def type(self) -> str:
        return f"memref<{self.count}x{self.element}, #spirv.storage_class<StorageBuffer>>"


@dataclass(frozen=True)
class Kernel:
    """A ``gpu.func``'s arguments and body, and the workgroups of ``threads`` that run it."""

    buffers: tuple[Buffer, ...]
    body: str
    groups: tuple[int, int, int]
    threads: int

    def module(self, name: str) -> str:
        """The text of its ``gpu.module``."""
        arguments = ", ".join(f"%{buffer.name}: {buffer.type}" for buffer in self.buffers)
        return (
            f"gpu.module @{name} {{ gpu.func @main({arguments}) kernel attributes {{"
            f"spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [{self.threads}, 1, 1]>}} {{\n"
            f"{self.body}\ngpu.return\n}} }}"
        )


class Emitter:
    """Collects the lines of a kernel over ``buffers``; values are their names."""

    def __init__(self, buffers: Sequence[Buffer], half: bool = False, threads: int = THREADS) -> None:
        self.buffers = {buffer.name: buffer for buffer in buffers}
        self.half = half
        self.element = "f16" if half else "f32"
        self.vector = f"vector<4x{self.element}>"
        self._threads = threads
        self._lines: list[str] = []
        self._constants: dict[int, str] = {}
        self._count = 0

    def new(self, text: str) -> str:
        """The name of a new value that ``text`` computes."""
        self._count += 1
        self._lines.append(f"%v{self._count} = {text}")
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        """A line that gives no value."""
        self._lines.append(text)

    # -- indices ---

    def index(self, value: int) -> str:
        """A constant index."""
        return self._constants.setdefault(value, f"%c{value}" if value >= 0 else f"%m{-value}")

    def add(self, a: str, b: str | int) -> str:
        """The sum of two indices."""
        if b == 0:
            return a
        return self.new(f"arith.addi {a}, {self.index(b) if isinstance(b, int) else b} : index")

    def times(self, a: str, value: int) -> str:
        """An index times a constant."""
        return a if value == 1 else self.new(f"arith.muli {a}, {self.index(value)} : index")

    def divided(self, a: str, value: int) -> tuple[str, str]:
        """An index, not negative, by a constant: quotient and rest."""
        if value == 1:
            return a, self.index(0)
        constant = self.index(value)
        return (
            self.new(f"arith.divui {a}, {constant} : index"),
            self.new(f"arith.remui {a}, {constant} : index"),
        )

    def split(self, a: str, *sizes: int) -> list[str]:
        """An index into an array of ``sizes``, of which the first may be any: a place in each dimension."""
        places: list[str] = []
        for size in reversed(sizes):
            a, place = self.divided(a, size)
            places.append(place)
        return [a, *reversed(places)]

    def below(self, a: str, limit: int) -> str:
        """Whether an index, as an unsigned number, is less than a constant."""
        return self.new(f"arith.cmpi ult, {a}, {self.index(limit)} : index")

    def both(self, a: str, b: str) -> str:
        """Whether two conditions hold."""
        return self.new(f"arith.andi {a}, {b} : i1")

    def clamped(self, a: str, limit: int) -> str:
        """A signed index, not below zero and below ``limit``."""
        a = self.new(f"arith.maxsi {a}, {self.index(0)} : index")
        return self.new(f"arith.minsi {a}, {self.index(limit - 1)} : index")

    def chosen(self, condition: str, a: str, b: str, type_: str = "index") -> str:
        """``a`` where the condition holds, else ``b``."""
        return self.new(f"arith.select {condition}, {a}, {b} : {type_}")

    def thread(self) -> str:
        """The thread's number among all of x."""
        return self.add(self.times("%bx", self._threads), "%tx")

    # -- memory ---

    def load(self, name: str, at: str, reader: int | None = None) -> str:
        """The element of a buffer; ``reader``: the filter of a group that an input pixel is for."""
        mark = "" if reader is None else f" {{espalier.filter = {reader} : i64}}"
        return self.new(f"memref.load %{name}[{at}]{mark} : {self.buffers[name].type}")

    def load_index(self, name: str, at: str) -> str:
        """The i32 of a buffer as an index."""
        return self.new(f"arith.index_cast {self.load(name, at)} : i32 to index")

    def store(self, value: str, name: str, at: str) -> None:
        """Writes an element of a buffer."""
        self.line(f"memref.store {value}, %{name}[{at}] : {self.buffers[name].type}")

    def fail_unless(self, condition: str, number: int) -> None:
        """Where the condition does not hold, notes the assertion ``number`` in the buffer ``failures``, whose
        one word keeps the least of all threads."""
        def note() -> None:
            value, type_ = self.new(f"arith.constant {number} : i32"), self.buffers["failures"].type
            self.new(f"memref.atomic_rmw minu {value}, %failures[{self.index(0)}] : (i32, {type_}) -> i32")

        self.when(self.opposite(condition), note)

    def opposite(self, condition: str) -> str:
        """Whether the condition does not hold."""
        return self.new(f"arith.xori {condition}, {self.new('arith.constant true')} : i1")

    # -- numbers ---

    def real(self, value: float, type_: str = "f32") -> str:
        """A constant number; of a vector's type: in all its lanes. Halves have no constants in SPIR-V's
        conversion and are rounded from f32."""
        if "f16" in type_:
            return self.narrowed(self.real(value, type_.replace("f16", "f32")), scalar=type_ == "f16")
        bits = f"0x{struct.unpack('>I', struct.pack('>f', value))[0]:08X}"
        return self.new(f"arith.constant {bits if type_ == 'f32' else f'dense<{bits}>'} : {type_}")

    def splat(self, scalar: str, element: str | None = None) -> str:
        """A number in all lanes."""
        element = element or self.element
        return self.new(f"vector.broadcast {scalar} : {element} to vector<4x{element}>")

    def lanes(self, a: str, b: str, places: Sequence[int], type_: str | None = None) -> str:
        """Lanes of two vectors, of which the second's count from 4."""
        type_ = type_ or self.vector
        return self.new(f"vector.shuffle {a}, {b} [{', '.join(map(str, places))}] : {type_}, {type_}")

    def lane(self, vector: str, place: int, element: str | None = None) -> str:
        """One lane of a vector."""
        element = element or self.element
        return self.new(f"vector.extract {vector}[{place}] : {element} from vector<4x{element}>")

    def joined(self, scalars: Sequence[str], element: str) -> str:
        """A vector of four numbers."""
        return self.new(f"vector.from_elements {', '.join(scalars)} : vector<4x{element}>")

    def widened(self, value: str, scalar: bool = False) -> str:
        """What a buffer holds, as f32."""
        types = ("f16", "f32") if scalar else ("vector<4xf16>", WIDE)
        return self.new(f"arith.extf {value} : {types[0]} to {types[1]}") if self.half else value

    def narrowed(self, value: str, scalar: bool = False) -> str:
        """f32 as what a buffer holds."""
        types = ("f32", "f16") if scalar else (WIDE, "vector<4xf16>")
        return self.new(f"arith.truncf {value} : {types[0]} to {types[1]}") if self.half else value

    def multiply_add(self, a: str, b: str, c: str, type_: str) -> str:
        """a * b + c."""
        if type_.startswith("vector"):
            return self.new(f"vector.fma {a}, {b}, {c} : {type_}")
        return self.new(f"arith.addf {self.new(f'arith.mulf {a}, {b} : {type_}')}, {c} : {type_}")

    def activated(self, value: str, activation: str, type_: str) -> str:
        """The activation of that name, of f32 or a vector of them."""
        return evaluate(
            activation_named(activation).formula,
            value,
            lambda number: self.real(number, type_),
            lambda operation, *operands: self.applied(operation, operands, type_),
        )

    def applied(self, operation: str, operands: Sequence[str], type_: str) -> str:
        """An operation of ``activations.py``'s formulas."""
        simple = {"add": "addf", "sub": "subf", "mul": "mulf", "div": "divf", "max": "maximumf",
                  "min": "minimumf", "neg": "negf"}
        if operation in simple:
            return self.new(f"arith.{simple[operation]} {', '.join(operands)} : {type_}")
        if operation in ("exp", "sqrt"):
            return self.new(f"math.{operation} {operands[0]} : {type_}")
        one = self.real(1, type_)
        if operation == "sigmoid":  # 1 / (1 + exp(-x))
            power = self.applied("exp", [self.applied("neg", operands, type_)], type_)
            return self.applied("div", [one, self.applied("add", [one, power], type_)], type_)
        if operation == "tanh":  # 1 - 2 / (exp(2 x) + 1), which neither overflows nor needs a driver's own
            power = self.applied("exp", [self.applied("add", [*operands, *operands], type_)], type_)
            part = self.applied("div", [self.real(2, type_), self.applied("add", [power, one], type_)], type_)
            return self.applied("sub", [one, part], type_)
        raise ValueError(f"no GPU form of '{operation}'")

    # -- control ---

    def loop(
        self,
        low: str,
        high: str,
        carried: Sequence[str],
        type_: str | Sequence[str],
        body: Callable[[str, list[str]], list[str]],
        step: int = 1,
        kind: int | None = None,
    ) -> list[str]:
        """``carried``, of one type or a type each, after ``body(k, carried)`` for every ``step``-th k from
        ``low`` to ``high``; ``kind``: the class of kernels that it is the loop of."""
        self._count += 1
        name = f"%l{self._count}"
        head = f"scf.for {name}_k = {low} to {high} step {self.index(step)}"
        if not carried:
            self.line(f"{head} {{")
            body(f"{name}_k", [])
            self.line("}")
            return []
        types = ", ".join([type_] * len(carried) if isinstance(type_, str) else type_)
        inside = [f"{name}_{at}" for at in range(len(carried))]
        pairs = ", ".join(f"{own} = {start}" for own, start in zip(inside, carried, strict=True))
        self.line(f"{name}:{len(carried)} = {head} iter_args({pairs}) -> ({types}) {{")
        after = body(f"{name}_k", inside)
        self.line(f"scf.yield {', '.join(after)} : {types}")
        self.line("}" if kind is None else f"}} {{espalier.class = {kind} : i64}}")
        return [f"{name}#{at}" for at in range(len(carried))]

    def restarting_loop(
        self,
        low: str,
        high: str,
        totals: Sequence[str],
        most: int,
        body: Callable[[str, list[str]], list[str]],
        scalar: bool = False,
        kind: int | None = None,
    ) -> list[str]:
        """As ``loop`` over f32 (vectors, unless ``scalar``); halves are summed for ``most`` turns at a time,
        and added up in f32."""
        wide, own_type = ("f32", self.element) if scalar else (WIDE, self.vector)
        if not self.half:
            return self.loop(low, high, totals, wide, body, kind=kind)

        def part(first: str, totals: list[str]) -> list[str]:
            end = self.new(f"arith.minsi {self.add(first, most)}, {high} : index")
            start = self.real(0, own_type)
            sums = self.loop(first, end, [start] * len(totals), own_type, body, kind=kind)
            return [
                self.new(f"arith.addf {total}, {self.widened(own, scalar)} : {wide}")
                for total, own in zip(totals, sums, strict=True)
            ]

        return self.loop(low, high, totals, wide, part, most)

    def either(self, condition: str, first: Callable[[], str], second: Callable[[], str], type_: str) -> str:
        """What ``first`` gives where the condition holds, else what ``second`` gives; one of them runs."""
        self._count += 1
        name = f"%e{self._count}"
        self.line(f"{name} = scf.if {condition} -> ({type_}) {{")
        self.line(f"scf.yield {first()} : {type_}")
        self.line("} else {")
        self.line(f"scf.yield {second()} : {type_}")
        self.line("}")
        return name

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Runs ``body`` where the condition holds."""
        self.line(f"scf.if {condition} {{")
        body()
        self.line("}")

    def kernel(self, groups: tuple[int, int, int]) -> Kernel:
        """What was written, with its constants."""
        constants = [f"{name} = arith.constant {value} : index" for value, name in self._constants.items()]
        ids = ["%bx = gpu.block_id x", "%by = gpu.block_id y", "%bz = gpu.block_id z",
               "%tx = gpu.thread_id x"]
        lines = [*constants, *ids, *self._lines]
        return Kernel(tuple(self.buffers.values()), "\n".join(lines), groups, self._threads)


@dataclass(frozen=True)
class Work:
    """``owners`` (planes, groups of filters) of ``tiles`` each, a thread a tile; ``batch`` times.

    Where an owner has tiles enough, a workgroup belongs to one; else several share one. ``given``: threads of
    a workgroup, 0 chooses. ``owners_first``: workgroups follow each other through the owners.
    """

    owners: int
    tiles: int
    batch: int = 1
    given: int = 0
    owners_first: bool = False

    @property
    def threads(self) -> int:
        """Of a workgroup."""
        if self.given:
            return self.given
        return THREADS if self.tiles * self.owners > THREADS // 2 else THREADS // 2

    @property
    def together(self) -> int:
        """Owners that share a workgroup."""
        return max(1, self.threads // self.tiles)

    @property
    def groups(self) -> tuple[int, int, int]:
        """Workgroups."""
        if self.together == 1:
            across = -(-self.tiles // self.threads)
            first = (self.owners, across) if self.owners_first else (across, self.owners)
            return (*first, self.batch)
        return -(-self.owners // self.together), 1, self.batch

    def run(self, e: Emitter, body: Callable[[str, str], None]) -> Kernel:
        """The kernel whose threads run ``body(owner, tile)``; the example of the batch is ``%bz``."""
        if self.together == 1:
            owner, at = ("%bx", "%by") if self.owners_first else ("%by", "%bx")
            thread = e.add(e.times(at, self.threads), "%tx")
            e.when(e.below(thread, self.tiles), lambda: body(owner, thread))
            return e.kernel(self.groups)
        own, tile = e.divided("%tx", self.tiles)
        owner = e.add(e.times("%bx", self.together), own)
        inside = e.below(owner, self.owners)
        if self.together * self.tiles != self.threads:
            inside = e.both(inside, e.below(own, self.together))
        e.when(inside, lambda: body(owner, tile))
        return e.kernel(self.groups)


def vectors_of(name: str, count: int, element: str, written: bool = False) -> Buffer:
    """A buffer of ``count`` vectors of ``element``."""
    return Buffer(name, f"vector<{LANES}x{element}>", count, written)
