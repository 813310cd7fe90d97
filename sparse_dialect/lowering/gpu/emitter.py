"""Writes the text of one kernel: a value a line, index constants once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

THREADS = 64  # of a workgroup, in one row: some drivers give wrong results for near-square ones
VECTOR = "vector<4xf32>"


@dataclass(frozen=True)
class Buffer:
    """A kernel's argument: ``count`` elements of ``element`` (``f32``, ``i32`` or ``VECTOR``)."""

    name: str
    element: str
    count: int
    written: bool = False

    @property
    def type(self) -> str:
        return f"memref<{self.count}x{self.element}, #spirv.storage_class<StorageBuffer>>"


@dataclass(frozen=True)
class Kernel:
    """A ``gpu.func``'s arguments and body, and the workgroups that run it."""

    buffers: tuple[Buffer, ...]
    body: str
    groups: tuple[int, int, int]

    def module(self, name: str) -> str:
        """The text of its ``gpu.module``."""
        arguments = ", ".join(f"%{buffer.name}: {buffer.type}" for buffer in self.buffers)
        return (
            f"gpu.module @{name} {{ gpu.func @main({arguments}) kernel attributes {{"
            f"spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [{THREADS}, 1, 1]>}} {{\n"
            f"{self.body}\ngpu.return\n}} }}"
        )


class Emitter:
    """Collects the lines of a kernel over ``buffers``; values are their names."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = {buffer.name: buffer for buffer in buffers}
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

    def index(self, value: int) -> str:
        """A constant index."""
        return self._constants.setdefault(value, f"%c{value}" if value >= 0 else f"%m{-value}")

    def real(self, value: float, type_: str = "f32") -> str:
        """A constant number; of a vector's type: in all its lanes."""
        bits = {float("-inf"): "0xFF800000"}.get(value, f"{value:e}")
        return self.new(f"arith.constant {bits if type_ == 'f32' else f'dense<{bits}>'} : {type_}")

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
        constant = self.index(value)
        return (
            self.new(f"arith.divui {a}, {constant} : index"),
            self.new(f"arith.remui {a}, {constant} : index"),
        )

    def below(self, a: str, limit: int) -> str:
        """Whether an index, as an unsigned number, is less than a constant."""
        return self.new(f"arith.cmpi ult, {a}, {self.index(limit)} : index")

    def load(self, name: str, at: str) -> str:
        """The element of a buffer."""
        return self.new(f"memref.load %{name}[{at}] : {self.buffers[name].type}")

    def load_index(self, name: str, at: str) -> str:
        """The i32 of a buffer as an index."""
        return self.new(f"arith.index_cast {self.load(name, at)} : i32 to index")

    def store(self, value: str, name: str, at: str) -> None:
        """Writes an element of a buffer."""
        self.line(f"memref.store {value}, %{name}[{at}] : {self.buffers[name].type}")

    def splat(self, scalar: str) -> str:
        """A number in all lanes."""
        return self.new(f"vector.broadcast {scalar} : f32 to {VECTOR}")

    def multiply_add(self, a: str, b: str, c: str, type_: str) -> str:
        """a * b + c."""
        if type_ == VECTOR:
            return self.new(f"vector.fma {a}, {b}, {c} : {VECTOR}")
        return self.new(f"arith.addf {self.new(f'arith.mulf {a}, {b} : f32')}, {c} : f32")

    def activated(self, value: str, activation: str, type_: str) -> str:
        """``none``, ``relu`` or ``relu6`` of it."""
        if activation == "none":
            return value
        value = self.new(f"arith.maximumf {value}, {self.real(0, type_)} : {type_}")
        if activation == "relu6":
            value = self.new(f"arith.minimumf {value}, {self.real(6, type_)} : {type_}")
        return value

    def loop(
        self,
        low: str,
        high: str,
        carried: Sequence[str],
        type_: str,
        body: Callable[[str, list[str]], list[str]],
    ) -> list[str]:
        """``carried`` after ``body(k, carried)`` for every k from ``low`` to ``high``."""
        self._count += 1
        name, types = f"%l{self._count}", ", ".join([type_] * len(carried))
        inside = [f"{name}_{at}" for at in range(len(carried))]
        pairs = ", ".join(f"{own} = {start}" for own, start in zip(inside, carried, strict=True))
        self.line(
            f"{name}:{len(carried)} = scf.for {name}_k = {low} to {high} step {self.index(1)} "
            f"iter_args({pairs}) -> ({types}) {{"
        )
        after = body(f"{name}_k", inside)
        self.line(f"scf.yield {', '.join(after)} : {types}")
        self.line("}")
        return [f"{name}#{at}" for at in range(len(carried))]

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Runs ``body`` where the condition holds."""
        self.line(f"scf.if {condition} {{")
        body()
        self.line("}")

    def kernel(self, groups: tuple[int, int, int]) -> Kernel:
        """What was written, with its constants."""
        constants = [f"{name} = arith.constant {value} : index" for value, name in self._constants.items()]
        ids = [
            "%bx = gpu.block_id x",
            "%by = gpu.block_id y",
            "%bz = gpu.block_id z",
            "%tx = gpu.thread_id x",
        ]
        return Kernel(tuple(self.buffers.values()), "\n".join([*constants, *ids, *self._lines]), groups)

    def thread(self) -> str:
        """The thread's number among all of x."""
        return self.add(self.times("%bx", THREADS), "%tx")


def groups_of(count: int) -> int:
    """Workgroups for so many threads."""
    return -(-count // THREADS)
