"""The text of a module of kernels, weights and the function that launches them, as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.constants import attribute_of
from ...ir.mlir import ir
from ...ir.values import text_of
from ...passes import PassContext
from .emitter import Kernel
from .kernels.recurrent import lives

Operand = str | tuple[str, int] | np.ndarray  # a buffer, one from a byte on, a weight
FAILURES = "%failures"  # the buffer of one word that kernels note assertions in
STEPS = "%steps"  # the one in which a run says how many time steps it has
CLASS = "#spirv.storage_class<StorageBuffer>"


@dataclass(frozen=True)
class Facts:
    """What a thread computes: output pixels of a ``tile`` for so many ``filters``; ``visits``: how many turns
    the loop of each class takes in all threads together, ``multiply_adds`` of the whole launch, bytes of
    weights."""

    mapping: str
    tile: tuple[int, int]
    filters: int
    visits: tuple[int, ...]
    multiply_adds: int
    bytes: int

    @property
    def text(self) -> str:
        """As an attribute of the launch."""
        visits = ", ".join(map(str, self.visits))
        return (
            f', espalier.facts = {{mapping = "{self.mapping}", tile = array<i64: {self.tile[0]}, '
            f"{self.tile[1]}>, filters = {self.filters} : i64, visits = array<i64{': ' * bool(visits)}"
            f"{visits}>, multiply_adds = {self.multiply_adds} : i64, bytes = {self.bytes} : i64}}"
        )


class Launches:
    """Buffers of bytes and launches over them. Equal kernels are one."""

    def __init__(self, context: PassContext) -> None:
        self._context = context
        self._kernels: dict[str, tuple[str, Kernel]] = {}  # by their text: its name
        self._weights: dict[str, np.ndarray] = {}
        self._lines: list[str] = []
        self._count = 0
        self._known: dict[int, str] = {}  # the global that holds an array
        self._sizes: dict[str, int] = {FAILURES: 4, STEPS: 4}  # bytes of each buffer
        self._live = ""  # the buffer that says which steps a run has
        self._messages: list[str] = []  # of assertions

    def argument(self, name: str, size: int) -> str:
        """A buffer that the function is called with."""
        self._sizes[name] = size
        return f"{name}: {_bytes(size)}"

    def assertion(self, text: str) -> int:
        """The number, from 1, by which kernels note that the assertion of that text did not hold."""
        if text not in self._messages:
            self._messages.append(text)
        return self._messages.index(text) + 1

    def live(self, steps: int) -> str:
        """The buffer of ``lives``, for so many steps, which are the same in each call."""
        if not self._live:
            kernel = lives(steps)
            self._live = self.allocate(4 * kernel.buffers[1].count)
            self.launch("steps", kernel, [STEPS, self._live])
        return self._live

    def allocate(self, size: int) -> str:
        """A new buffer."""
        self._count += 1
        name = f"%buffer_{self._count}"
        self._sizes[name] = size
        self._lines.append(f"{name} = memref.alloc() : {_bytes(size)}")
        return name

    def launch(self, layer: str, kernel: Kernel, operands: Sequence[Operand],
               facts: Facts | None = None) -> None:
        """A launch of the kernel on buffers, buffers from a byte on, and weights. An array that comes again
        is kept once. ``facts``: what the report shows of a layer."""
        key = kernel.module("kernel")
        name, _ = self._kernels.setdefault(key, (f"kernel_{len(self._kernels)}", kernel))
        views = [
            self._view(operand, buffer.type)
            for operand, buffer in zip(operands, kernel.buffers, strict=True)
        ]
        sizes = [self._constant(size) for size in (*kernel.groups, kernel.threads, 1, 1)]
        written = ", ".join(str(at) for at, buffer in enumerate(kernel.buffers) if buffer.written)
        typed = ", ".join(
            f"{view} : {buffer.type}" for view, buffer in zip(views, kernel.buffers, strict=True)
        )
        self._lines.append(
            f"gpu.launch_func @{name}::@main blocks in ({', '.join(sizes[:3])}) "
            f"threads in ({', '.join(sizes[3:])}) "
            f'args({typed}) {{espalier.layer = "{_quoted(layer)}", espalier.written = array<i64: {written}>'
            f"{'' if facts is None else facts.text}}}"
        )
        self._context.statistics["launches"] += 1

    def module(self, arguments: Sequence[str]) -> ir.Module:
        """All of it; the function takes ``arguments``, the number of steps where that is free, and the
        failures where there are assertions."""
        own = [f"{name}: {_bytes(self._sizes[name])}"
               for name, used in ((STEPS, self._live), (FAILURES, self._messages)) if used]
        text = "\n".join(
            [
                "module attributes {gpu.container_module} {",
                *(
                    f'memref.global "private" constant @{name} : {_bytes(array.nbytes)} = uninitialized'
                    for name, array in self._weights.items()
                ),
                *(kernel.module(name) for name, kernel in self._kernels.values()),
                f"func.func @main({', '.join([*arguments, *own])}) {{",
                "%zero = arith.constant 0 : index",
                *self._lines,
                "return",
                "}",
                "}",
            ]
        )
        module = ir.Module.parse(text)
        self._fill(module)
        with module.context:
            texts = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in self._messages])
            module.operation.attributes["espalier.messages"] = texts
        return module

    def _fill(self, module: ir.Module) -> None:
        """Puts the weights into their globals."""
        for view in module.body.operations:
            name = text_of(view.operation.attributes, "sym_name")
            if name in self._weights:
                flat = np.ascontiguousarray(self._weights[name]).reshape(-1).view(np.int8)
                view.operation.attributes["initial_value"] = attribute_of(flat, name)

    def _view(self, operand: Operand, type_: str) -> str:
        """The buffer, or the weight, as the kernel sees it."""
        self._count += 1
        offset = "%zero"
        if isinstance(operand, np.ndarray):
            operand = self._global(operand)
        elif isinstance(operand, tuple):
            offset = self._constant(operand[1])
            operand = operand[0]
        self._lines.append(
            f"%view_{self._count} = memref.view {operand}[{offset}][] : "
            f"{_bytes(self._sizes[operand])} to {type_}"
        )
        return f"%view_{self._count}"

    def _global(self, array: np.ndarray) -> str:
        """The weight's buffer."""
        if id(array) not in self._known:
            name = f"weight_{len(self._weights)}"
            self._weights[name] = array  # it stays, so no other array gets its id
            self._sizes[f"%{name}"] = array.nbytes
            self._lines.append(f"%{name} = memref.get_global @{name} : {_bytes(array.nbytes)}")
            self._known[id(array)] = f"%{name}"
        return self._known[id(array)]

    def _constant(self, value: int) -> str:
        self._count += 1
        self._lines.append(f"%size_{self._count} = arith.constant {value} : index")
        return f"%size_{self._count}"


def _bytes(count: int) -> str:
    return f"memref<{count}xi8, {CLASS}>"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
