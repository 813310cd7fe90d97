"""Emits matrix-vector kernels, y = act(W x + b) for every row x of the input, over a range of shares of W.

Dense rows: vectors run along four times ``lanes`` rows; several inputs share each loaded weight.

    for rows in begin .. end:                       # 4 vectors of rows
      for x, x', ... of the inputs:
        acc[i] = bias;  for k in 0 .. K: acc[i] += x[k] * weight[rows][k][i]
        y = act(acc)

Sparse rows come in strips (``strip_kernel.py``): few inputs one by one, vectors along the columns; many at
once, vectors along the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...cores import Core
from ...mlir import ir
from ...schemes.dense_rows import DENSE_VECTORS
from ...schemes.row_blocks import STRIP, Strips, few_inputs
from .builder import Builder, Value, arith, func, memref, private_function, vector
from .strip_kernel import StripEmitter


@dataclass(frozen=True)
class LinearKernel:
    """Everything static about a linear layer's code.

    ``batch``: rows of the input, None where only the run knows; ``strips``: None for dense rows.
    """

    batch: int | None
    rows: int
    columns: int
    lanes: int
    registers: int
    activation: str
    strips: Strips | None = None

    @property
    def padded_rows(self) -> int:
        """Rows with those of zeros at the end, for which there is a bias too."""
        width = STRIP if self.strips else self.lanes * DENSE_VECTORS
        return -(-self.rows // width) * width

    @property
    def dense_units(self) -> int:
        """What threads share out of dense rows."""
        return self.padded_rows // (self.lanes * DENSE_VECTORS)

    @property
    def together(self) -> int:
        """Inputs (dense) or vectors of inputs (strips) that share a loaded weight."""
        if self.strips:
            return 4 if self.registers >= 32 else 2
        return (self.registers - DENSE_VECTORS - 1) // DENSE_VECTORS

    @property
    def few(self) -> int:
        """Strips multiply fewer inputs than this one by one."""
        return few_inputs(self.lanes)

    @property
    def scratch_floats(self) -> int:
        """Floats of scratch a thread: inputs side by side, and their results."""
        if self.strips is None or (self.batch is not None and self.batch < self.few):
            return 0
        return (self.columns + STRIP) * self.together * self.lanes


def emit_linear_kernel(module: ir.Operation, name: str, kernel: LinearKernel,
                       operand_types: list[ir.Type], core: Core, storage_names: Sequence[str] = ()) -> None:
    """Adds ``func.func private @name``: input [N, K], output [N, M], bias [padded rows], the storage arrays,
    scratch for strips, begin and end of the units: shares of strips, or groups of dense rows."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.lanes, core)
        if kernel.strips is None:
            _DenseRows(b, kernel, list(entry.arguments)).emit()
        else:
            _StripRows(b, kernel, kernel.strips, list(entry.arguments), storage_names).emit()
        func.ReturnOp([])


def _batch(b: Builder, kernel: LinearKernel, source: Value) -> Value:
    """The number of inputs."""
    return b.index(kernel.batch) if kernel.batch is not None else memref.DimOp(source, b.index(0)).result


class _DenseRows:
    def __init__(self, b: Builder, kernel: LinearKernel, arguments: list[Value]) -> None:
        self.b, self.kernel = b, kernel
        self.input, self.output, self.bias, self.weight, self.begin, self.end = arguments

    def emit(self) -> None:
        b, together = self.b, self.kernel.together
        batch = _batch(b, self.kernel, self.input)
        whole = b.multiply(arith.DivUIOp(batch, b.index(together)).result, together)

        def unit(unit: Value) -> None:
            b.loop(0, whole, lambda n: self._rows(unit, [b.add(n, i) for i in range(together)]),
                   step=together)
            b.loop(whole, batch, lambda n: self._rows(unit, [n]))

        b.loop(self.begin, self.end, unit)

    def _rows(self, unit: Value, inputs: list[Value]) -> None:
        """One group of rows times a few inputs."""
        b, kernel = self.b, self.kernel
        first = b.multiply(unit, kernel.lanes * DENSE_VECTORS)
        bias = [b.load(self.bias, b.add(first, i * kernel.lanes)) for i in range(DENSE_VECTORS)]

        def body(k: Value, *acc: Value) -> list[Value]:
            weights = [b.load(self.weight, unit, k, b.index(i), b.index(0)) for i in range(DENSE_VECTORS)]
            sums = []
            for at, n in enumerate(inputs):
                x = b.broadcast(b.scalar(self.input, n, k))
                sums += [b.fma(x, weight, acc[at * DENSE_VECTORS + i]) for i, weight in enumerate(weights)]
            return sums

        totals = b.loop(0, kernel.columns, body, bias * len(inputs))
        for at, n in enumerate(inputs):
            self._store(unit, first, n, totals[at * DENSE_VECTORS : (at + 1) * DENSE_VECTORS])

    def _store(self, unit: Value, first: Value, n: Value, totals: Sequence[Value]) -> None:
        """Output rows need not fill vectors."""
        b, kernel = self.b, self.kernel
        values = [b.activation(total, kernel.activation) for total in totals]
        groups, rest = divmod(kernel.rows, kernel.lanes * DENSE_VECTORS)

        def store(count: int) -> None:
            for at, value in enumerate(values):
                _store_part(b, value, min(count - at * kernel.lanes, kernel.lanes), self.output, n,
                            b.add(first, at * kernel.lanes))

        if rest:
            b.either(b.compare("slt", unit, b.index(groups)),
                     lambda: store(kernel.lanes * DENSE_VECTORS), lambda: store(rest))
        else:
            store(kernel.lanes * DENSE_VECTORS)


def _store_part(b: Builder, value: Value, count: int, output: Value, n: Value, first: Value) -> None:
    """Stores the first ``count`` lanes of ``value`` to ``output[n, first]`` on."""
    if count == b.lanes:
        b.store(value, output, n, first, aligned=False)
    for lane in range(max(count, 0) if count < b.lanes else 0):
        b.put(vector.ExtractOp(value, [], [lane]).result, output, n, b.add(first, lane))


class _StripRows:
    def __init__(self, b: Builder, kernel: LinearKernel, strips: Strips, arguments: list[Value],
                 storage_names: Sequence[str]) -> None:
        self.b, self.quad, self.kernel, self.count = b, Builder(b.entry, STRIP, b.core), kernel, strips.count
        self.input, self.output, self.bias, *rest = arguments
        storage = dict(zip(storage_names, rest, strict=False))
        self.strips = StripEmitter(b, strips, storage)
        *_, scratch, begin, end = arguments
        self.scratch = b.view(scratch, 0, [kernel.scratch_floats])
        self.first, self.last = (b.integer(storage["edges"], edge) for edge in (begin, end))

    def emit(self) -> None:
        b, kernel = self.b, self.kernel
        batch = _batch(b, kernel, self.input)
        if kernel.batch is not None:
            (self._one_by_one if kernel.batch < kernel.few else self._together)(batch)
        else:
            b.either(b.compare("slt", batch, b.index(kernel.few)),
                     lambda: self._one_by_one(batch), lambda: self._together(batch))

    def _each_strip(self, body: Callable[[Value], None]) -> None:
        self.b.loop(self.first, self.last, body)

    # -- few inputs ----------------------------------------------------------------------------

    def _one_by_one(self, batch: Value) -> None:
        def strip(strip: Value) -> None:
            self.b.loop(0, batch, lambda n: self._strip(strip, n))

        self._each_strip(strip)

    def _strip(self, strip: Value, n: Value) -> None:
        quad, kernel = self.quad, self.kernel
        row = quad.multiply(strip, STRIP)
        total = arith.AddFOp(self.strips.sums(strip, self.input, n), quad.load(self.bias, row)).result
        value = quad.activation(total, kernel.activation)
        whole, rest = divmod(kernel.rows, STRIP)
        if rest:
            quad.either(quad.compare("slt", strip, quad.index(whole)),
                        lambda: _store_part(quad, value, STRIP, self.output, n, row),
                        lambda: _store_part(quad, value, rest, self.output, n, row))
        else:
            _store_part(quad, value, STRIP, self.output, n, row)

    # -- many inputs ---------------------------------------------------------------------------

    def _together(self, batch: Value) -> None:
        """Whole groups of ``together`` vectors of inputs, then single vectors, the last one in part."""
        b, width = self.b, self.kernel.together * self.kernel.lanes
        whole = b.multiply(arith.DivUIOp(batch, b.index(width)).result, width)
        b.loop(0, whole, lambda n: self._samples(n, batch, self.kernel.together), step=width)
        b.loop(whole, batch, lambda n: self._samples(n, batch, 1), step=self.kernel.lanes)

    def _samples(self, first: Value, batch: Value, vectors: int) -> None:
        """All strips for the inputs from ``first`` on, which are put side by side in scratch first."""
        b, kernel = self.b, self.kernel
        width = vectors * kernel.lanes
        last = arith.SubIOp(batch, b.index(1)).result

        def pack(k: Value) -> None:
            b.loop(0, width, lambda i: b.put(
                b.scalar(self.input, b.minimum(b.add(first, i), last), k),
                self.scratch, b.add(b.multiply(k, width), i)))

        def load(column: Value, at: int) -> Value:
            return b.load(self.scratch, b.add(b.multiply(column, width), at * kernel.lanes))

        b.loop(0, kernel.columns, pack)
        count = b.minimum(b.index(width), arith.SubIOp(batch, first).result)
        self._each_strip(lambda strip: self._store(
            strip, first, count, self.strips.samples(strip, vectors, load)))

    def _store(self, strip: Value, first: Value, count: Value, sums: list[list[Value]]) -> None:
        """Results are columns of the output: through scratch, one by one."""
        b, kernel = self.b, self.kernel
        row, width = b.multiply(strip, STRIP), len(sums[0]) * kernel.lanes
        results = kernel.columns * width
        for at, vectors in enumerate(sums):
            bias = b.broadcast(b.scalar(self.bias, b.add(row, at)))
            for number, total in enumerate(vectors):
                value = b.activation(arith.AddFOp(total, bias).result, kernel.activation)
                b.store(value, self.scratch, b.index(results + at * width + number * kernel.lanes))
        rows = b.minimum(b.index(STRIP), arith.SubIOp(b.index(kernel.rows), row).result)

        def copy(i: Value) -> None:
            b.loop(0, rows, lambda at: b.put(
                b.scalar(self.scratch, b.add(b.add(b.multiply(at, width), i), results)),
                self.output, b.add(first, i), b.add(row, at)))

        b.loop(0, count, copy)
