"""The text of a module of kernels, weights and the function that launches them, as it grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.constants import attribute_of
from ...ir.mlir import ir
from ...ir.values import text_of
from ...passes import PassContext
from .emitter import Kernel

CLASS = "#spirv.storage_class<StorageBuffer>"


class Launches:
    """Buffers of bytes and launches over them. Equal kernels are one."""

    def __init__(self, context: PassContext) -> None:
        self._context = context
        self._kernels: dict[str, tuple[str, Kernel]] = {}  # by their text: its name
        self._weights: dict[str, np.ndarray] = {}
        self._lines: list[str] = []
        self._count = 0
        self._sizes: dict[str, int] = {}  # bytes of each buffer

    def argument(self, name: str, size: int) -> str:
        """A buffer that the function is called with."""
        self._sizes[name] = size
        return f"{name}: {_bytes(size)}"

    def allocate(self, size: int) -> str:
        """A new buffer."""
        self._count += 1
        name = f"%buffer_{self._count}"
        self._sizes[name] = size
        self._lines.append(f"{name} = memref.alloc() : {_bytes(size)}")
        return name

    def launch(self, layer: str, kernel: Kernel, operands: Sequence[str | np.ndarray]) -> None:
        """A launch of the kernel on buffers and weights."""
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
            f'args({typed}) {{espalier.layer = "{_quoted(layer)}", espalier.written = array<i64: {written}>}}'
        )
        self._context.statistics["launches"] += 1

    def module(self, arguments: Sequence[str]) -> ir.Module:
        """All of it; the function takes ``arguments``."""
        text = "\n".join(
            [
                "module attributes {gpu.container_module} {",
                *(
                    f'memref.global "private" constant @{name} : {_bytes(array.nbytes)} = uninitialized'
                    for name, array in self._weights.items()
                ),
                *(kernel.module(name) for name, kernel in self._kernels.values()),
                f"func.func @main({', '.join(arguments)}) {{",
                "%zero = arith.constant 0 : index",
                *self._lines,
                "return",
                "}",
                "}",
            ]
        )
        module = ir.Module.parse(text)
        self._fill(module)
        return module

    def _fill(self, module: ir.Module) -> None:
        """Puts the weights into their globals."""
        for view in module.body.operations:
            name = text_of(view.operation.attributes, "sym_name")
            if name in self._weights:
                flat = np.ascontiguousarray(self._weights[name]).reshape(-1).view(np.int8)
                view.operation.attributes["initial_value"] = attribute_of(flat, name)

    def _view(self, operand: str | np.ndarray, type_: str) -> str:
        """The buffer, or the weight, as the kernel sees it."""
        self._count += 1
        if isinstance(operand, np.ndarray):
            name = f"weight_{len(self._weights)}"
            self._weights[name] = operand
            operand = f"%{name}"
            self._sizes[operand] = self._weights[name].nbytes
            self._lines.append(f"{operand} = memref.get_global @{name} : {_bytes(self._sizes[operand])}")
        self._lines.append(
            f"%view_{self._count} = memref.view {operand}[%zero][] : "
            f"{_bytes(self._sizes[operand])} to {type_}"
        )
        return f"%view_{self._count}"

    def _constant(self, value: int) -> str:
        self._count += 1
        self._lines.append(f"%size_{self._count} = arith.constant {value} : index")
        return f"%size_{self._count}"


def _bytes(count: int) -> str:
    return f"memref<{count}xi8, {CLASS}>"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
