"""Emits matrix-vector kernels, y = act(W x + b) for every row x of the input, over a range of shares of W.

Dense rows: vectors run along four times ``lanes`` rows; several inputs share each loaded weight.

    for rows in begin .. end:                       # 4 vectors of rows
      for x, x', ... of the inputs:
        acc[i] = bias;  for k in 0 .. K: acc[i] += x[k] * weight[rows][k][i]
        y = act(acc)

Of a matrix whose rows and columns are cut whole (``storage/kept_rows.py``) the smaller one that is left is
multiplied: k runs over its columns, each of which says its input; each place says the row that it is.

Sparse rows come in slices (``kernels/sell.py``): few inputs a few at a time, vectors along the rows; many at
once, vectors along the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ....devices.cores import Core
from ....ir.mlir import ir
from ....storage.dense import DENSE_VECTORS
from ....storage.sell import Sell, few_inputs
from ..emit.builder import Builder, Value, arith, each_group, func, memref, private_function, vector
from ..emit.formula import activated
from .sell import SliceEmitter

STRAYS = ("stray_start", "stray_place", "stray_column", "stray")


@dataclass(frozen=True)
class LinearKernel:
    """Everything static about a linear layer's code.

    ``batch``: rows of the input, None where only the run knows; ``slices``: None for dense rows; ``kept``:
    how many rows and columns are left where some are cut whole; ``strays``: single weights lie elsewhere.
    """

    batch: int | None
    rows: int
    columns: int
    lanes: int
    registers: int
    activation: str
    slices: Sell | None = None
    kept: tuple[int, int] | None = None
    strays: bool = False

    @property
    def padded_rows(self) -> int:
        """Rows with those of zeros at the end, for which there is a bias too."""
        width = self.slices.rows if self.slices else self.lanes * DENSE_VECTORS
        return -(-self.rows // width) * width

    @property
    def dense_units(self) -> int:
        """What threads share out of dense rows."""
        return self.padded_rows // (self.lanes * DENSE_VECTORS)

    @property
    def together(self) -> int:
        """Inputs (dense) or vectors of inputs (slices) that share a loaded weight."""
        if self.slices:
            return 4 if self.registers >= 32 else 2
        return (self.registers - DENSE_VECTORS - 1) // DENSE_VECTORS

    @property
    def few(self) -> int:
        """Slices run along the rows for fewer inputs than this, along the inputs from here on."""
        return few_inputs(self.lanes, self.slices.group if self.slices else 1)

    @property
    def scratch_floats(self) -> int:
        """Floats of scratch a thread: a unit's sums, and where inputs are many their vectors."""
        if self.slices is None:
            return self.together * self.lanes * DENSE_VECTORS if self.strays else 0
        few = (self.batch or self.few - 1) * self.slices.padded_rows
        many = (self.slices.padded_rows + self.columns) * self.together * self.lanes
        if self.batch is None:
            return max(few, many)
        return few if self.batch < self.few else many


def emit_linear_kernel(module: ir.Operation, name: str, kernel: LinearKernel,
                       operand_types: list[ir.Type], core: Core, storage_names: Sequence[str] = ()) -> None:
    """Adds ``func.func private @name``: input [N, K], output [N, M], bias [padded rows], the storage arrays,
    scratch for slices, begin and end of the units: shares of slices, or groups of dense rows."""
    _, entry = private_function(module, name, operand_types)
    with ir.InsertionPoint(entry):
        b = Builder(entry, kernel.lanes, core)
        if kernel.slices is None:
            _DenseRows(b, kernel, list(entry.arguments), storage_names).emit()
        else:
            _SliceRows(b, kernel, kernel.slices, list(entry.arguments), storage_names).emit()
        func.ReturnOp([])


def _batch(b: Builder, kernel: LinearKernel, source: Value) -> Value:
    """The number of inputs."""
    return b.index(kernel.batch) if kernel.batch is not None else memref.DimOp(source, b.index(0)).result


class _DenseRows:
    def __init__(self, b: Builder, kernel: LinearKernel, arguments: list[Value],
                 storage_names: Sequence[str]) -> None:
        self.b, self.kernel = b, kernel
        self.input, self.output, self.bias, *storage, self.begin, self.end = arguments
        if kernel.strays:
            *storage, self.scratch = storage
        named = dict(zip(storage_names, storage, strict=True))
        self.weight, self.row, self.column = named["weight"], named.get("row"), named.get("column")
        self.strays = [named[name] for name in STRAYS] if kernel.strays else []
        self.stored_rows, self.stored_columns = kernel.kept or (kernel.rows, kernel.columns)

    def emit(self) -> None:
        b, kernel = self.b, self.kernel
        batch = kernel.batch if kernel.batch is not None else _batch(b, kernel, self.input)
        b.loop(self.begin, self.end, lambda unit: each_group(
            b, batch, kernel.together, partial(self._rows, unit)))

    def _rows(self, unit: Value, inputs: list[Value]) -> None:
        """One group of rows times a few inputs."""
        b, kernel = self.b, self.kernel
        first = b.multiply(unit, kernel.lanes * DENSE_VECTORS)
        bias = [b.load(self.bias, b.add(first, i * kernel.lanes)) for i in range(DENSE_VECTORS)]

        def body(k: Value, *acc: Value) -> list[Value]:
            weights = [b.load(self.weight, unit, k, b.index(i), b.index(0)) for i in range(DENSE_VECTORS)]
            column = k if self.column is None else b.integer(self.column, k)
            sums = []
            for at, n in enumerate(inputs):
                x = b.broadcast(b.scalar(self.input, n, column))
                sums += [b.fma(x, weight, acc[at * DENSE_VECTORS + i]) for i, weight in enumerate(weights)]
            return sums

        begin = self._with_strays(unit, inputs, bias) if self.strays else bias * len(inputs)
        totals = b.loop(0, self._columns(unit), body, begin)
        for at, n in enumerate(inputs):
            self._store(unit, first, n, totals[at * DENSE_VECTORS : (at + 1) * DENSE_VECTORS])

    def _with_strays(self, unit: Value, inputs: list[Value], bias: list[Value]) -> list[Value]:
        """The sums of ``unit`` before the columns that are kept: the bias, and the strays one by one."""
        b, width = self.b, self.kernel.lanes * DENSE_VECTORS
        start, place, column, weight = self.strays
        sums = b.view(self.scratch, 0, [len(inputs) * width])
        at = [b.index(at * b.lanes) for at in range(len(inputs) * DENSE_VECTORS)]
        for spot, value in zip(at, bias * len(inputs), strict=True):
            b.store(value, sums, spot)

        def stray(e: Value) -> None:
            own, k = b.integer(place, e), b.integer(column, e)
            factor = b.convert(b.scalar(weight, e), b.element)  # halves are widened
            for number, n in enumerate(inputs):
                spot = b.add(own, number * width)
                product = arith.MulFOp(b.scalar(self.input, n, k), factor).result
                b.put(arith.AddFOp(b.scalar(sums, spot), product).result, sums, spot)

        b.loop(b.integer(start, unit), b.integer(start, b.add(unit, 1)), stray)
        return [b.load(sums, spot) for spot in at]

    def _columns(self, unit: Value) -> Value | int:
        """How many products a row of ``unit`` has: none in units of cut rows alone."""
        b, stored = self.b, -(-self.stored_rows // (self.kernel.lanes * DENSE_VECTORS))
        if stored == self.kernel.dense_units:
            return self.stored_columns
        return arith.SelectOp(b.compare("slt", unit, b.index(stored)), b.index(self.stored_columns),
                              b.index(0)).result

    def _store(self, unit: Value, first: Value, n: Value, totals: Sequence[Value]) -> None:
        """Output rows need not fill vectors."""
        b, kernel = self.b, self.kernel
        values = [activated(b, total, kernel.activation) for total in totals]
        groups, rest = divmod(kernel.rows, kernel.lanes * DENSE_VECTORS)

        def store(count: int) -> None:
            for at, value in enumerate(values):
                lanes = min(count - at * kernel.lanes, kernel.lanes)
                self._store_part(value, lanes, n, b.add(first, at * kernel.lanes))

        if rest:
            b.either(b.compare("slt", unit, b.index(groups)),
                     lambda: store(kernel.lanes * DENSE_VECTORS), lambda: store(rest))
        else:
            store(kernel.lanes * DENSE_VECTORS)

    def _store_part(self, value: Value, count: int, n: Value, first: Value) -> None:
        """Stores the first ``count`` lanes of ``value``, those of the places from ``first`` on."""
        b = self.b
        if count == b.lanes and self.row is None:
            b.store(value, self.output, n, first, aligned=False)
            return
        for lane in range(max(count, 0)):
            place = b.add(first, lane)
            row = place if self.row is None else b.integer(self.row, place)
            b.put(vector.ExtractOp(value, [], [lane]).result, self.output, n, row)


class _SliceRows:
    def __init__(self, b: Builder, kernel: LinearKernel, slices: Sell, arguments: list[Value],
                 storage_names: Sequence[str]) -> None:
        self.b, self.kernel, self.unit_rows, self.sums_rows = b, kernel, slices.rows, slices.padded_rows
        self.input, self.output, self.bias, *rest = arguments
        storage = dict(zip(storage_names, rest, strict=False))
        self.slices = SliceEmitter(b, slices, storage)
        *_, scratch, begin, end = arguments
        self.scratch = scratch
        self.first, self.last = (b.integer(storage["edges"], edge) for edge in (begin, end))

    def emit(self) -> None:
        b, kernel = self.b, self.kernel
        batch = _batch(b, kernel, self.input)
        if kernel.batch is not None:
            (self._few if kernel.batch < kernel.few else self._many)(batch)
        else:
            b.either(b.compare("slt", batch, b.index(kernel.few)),
                     lambda: self._few(batch), lambda: self._many(batch))

    def _each_unit(self, body: Callable[[Value, Value], None]) -> None:
        """``body(unit, its first row)``."""
        self.b.loop(self.first, self.last,
                    lambda unit: body(unit, self.b.multiply(unit, self.unit_rows)))

    def _few(self, batch: Value) -> None:
        b, kernel = self.b, self.kernel
        count = kernel.few - 1 if kernel.batch is None else kernel.batch
        sums = b.view(self.scratch, 0, [count * self.sums_rows])

        def unit(unit: Value, row: Value) -> None:
            self.slices.sums(unit, self.input, batch if kernel.batch is None else count, sums)
            b.loop(0, batch, lambda n: self._finish(sums, row, n, n))

        self._each_unit(unit)

    def _many(self, batch: Value) -> None:
        """Groups of ``together`` vectors of inputs and a smaller one; the last vector may be one in part."""
        b, lanes = self.b, self.kernel.lanes
        first, left = b.index(0), b.divide(b.add(batch, lanes - 1), lanes)[0]
        for vectors in range(self.kernel.together, 0, -1):
            groups, left = b.divide(left, vectors)
            end = b.add(first, b.multiply(groups, vectors * lanes))
            b.loop(first, end, partial(self._samples, batch=batch, vectors=vectors), step=vectors * lanes)
            first = end

    def _samples(self, first: Value, batch: Value, vectors: int) -> None:
        """All units for the inputs from ``first`` on, which are put side by side in scratch first."""
        b, kernel = self.b, self.kernel
        width = vectors * kernel.lanes
        sums = b.view(self.scratch, 0, [width * self.sums_rows])
        inputs = b.view(self.scratch, width * self.sums_rows, [kernel.columns * width])

        def load(column: Value, at: int) -> Value:
            return b.load(inputs, b.add(b.multiply(column, width), at * kernel.lanes))

        def unit(unit: Value, row: Value) -> None:
            self.slices.samples(unit, vectors, load, sums)
            b.loop(0, count, lambda at: self._finish(sums, row, b.add(first, at), at))

        self._side_by_side(first, batch, vectors, inputs)
        count = b.minimum(b.index(width), arith.SubIOp(batch, first).result)
        self._each_unit(unit)

    def _side_by_side(self, first: Value, batch: Value, vectors: int, inputs: Value) -> None:
        """Copies ``vectors`` vectors of inputs, from ``first`` on, to ``inputs`` [K * width]; inputs beyond
        the last one are like that."""
        b, columns, lanes = self.b, self.kernel.columns, self.kernel.lanes
        width, last = vectors * lanes, arith.SubIOp(batch, b.index(1)).result
        whole = columns // lanes * lanes

        def source(at: Value) -> Value:
            return b.minimum(b.add(first, at), last)

        def square(k: Value, at: Value) -> None:
            rows = [b.load(self.input, source(b.add(at, i)), k, aligned=False) for i in range(lanes)]
            turned = b.interleaved(rows)
            for i in range(lanes):
                b.store(b.part(turned, i), inputs, b.add(b.multiply(b.add(k, i), width), at))

        def rest(k: Value, i: Value) -> None:
            b.put(b.scalar(self.input, source(i), k), inputs, b.add(b.multiply(k, width), i))

        b.loop(0, whole, lambda k: b.loop(0, width, partial(square, k), step=lanes), step=lanes)
        b.loop(whole, columns, lambda k: b.loop(0, width, partial(rest, k)))

    def _finish(self, sums: Value, row: Value, n: Value, at: Value) -> None:
        """Output ``n``, rows from ``row`` on, from the sums of a unit for input ``at`` of a group; the unit
        may reach beyond the end of the output."""
        b, kernel = self.b, self.kernel
        first = b.multiply(at, self.sums_rows)
        rows = b.minimum(b.index(self.unit_rows), arith.SubIOp(b.index(kernel.rows), row).result)
        whole = b.multiply(b.divide(rows, kernel.lanes)[0], kernel.lanes)

        def finished(at: Value) -> Value:
            total = b.load(sums, b.add(first, at))
            total = arith.AddFOp(total, b.load(self.bias, b.add(row, at))).result
            return activated(b, total, kernel.activation)

        b.loop(0, whole, lambda at: b.store(finished(at), self.output, n, b.add(row, at), aligned=False),
               step=kernel.lanes)
        if kernel.rows % kernel.lanes:
            with b.when(b.compare("slt", whole, rows)):
                b.store(finished(whole), sums, b.add(first, whole))
                b.loop(whole, rows, lambda at: b.put(
                    b.scalar(sums, b.add(first, at)), self.output, n, b.add(row, at)))
