"""LRE: what is removed at each level, what must stay, the registers it counts on, and the counts on calls."""

from __future__ import annotations

from collections import Counter

import pytest
from espalier.sparse_dialect.devices.device import Device
from espalier.sparse_dialect.dialect.dialect import register_dialect
from espalier.sparse_dialect.dialect.schedules import set_device
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import operations
from espalier.sparse_dialect.lowering.cpu.emit.builder import func, vector
from espalier.sparse_dialect.lowering.loads.eliminate_redundant_loads import EliminateRedundantLoadsPass
from espalier.sparse_dialect.passes import PassContext

LOAD = "vector.load %x[%c, %{line}, %0]{filter} : memref<4x64x16xf32>, vector<16xf32>"


def kernel(reads: list[tuple[int, int]], accumulators: int = 4, between: dict[int, str] | None = None) -> str:
    """A kernel class's loop: one (line, filter) loaded and multiplied after the other; accumulators in turn.

    ``between`` puts text before the load of that number."""
    carried = [f"%a{i}" for i in range(accumulators)]
    lines = []
    for at, (line, filter_) in enumerate(reads):
        if between and at in between:
            lines.append(between[at])
        tag = f" {{espalier.filter = {filter_} : i64}}" if filter_ else ""
        lines.append(f"%v{at} = {LOAD.format(line=line, filter=tag)}")
        lines.append(f"%f{at} = vector.fma %v{at}, %w, {carried[at % accumulators]} : vector<16xf32>")
        carried[at % accumulators] = f"%f{at}"
    constants = "\n".join(f"%{line} = arith.constant {line} : index" for line in range(64))
    arguments = ", ".join(f"%a{i} = %zero" for i in range(accumulators))
    types = ", ".join(["vector<16xf32>"] * accumulators)
    return f"""
      func.func private @helper()
      func.func private @k(%x: memref<4x64x16xf32>, %y: memref<4x64x16xf32>, %w: vector<16xf32>, %n: index) {{
        {constants}
        %zero = arith.constant dense<0.0> : vector<16xf32>
        %r:{accumulators} = scf.for %c = %0 to %n step %1 iter_args({arguments}) -> ({types}) {{
          {"  ".join(f"{line}" + chr(10) for line in lines)}
          scf.yield {", ".join(carried)} : {types}
        }} {{espalier.class = 0 : i64}}
        return
      }}
      func.func @main(%x: memref<4x64x16xf32>, %w: vector<16xf32>, %n: index) {{
        call @k(%x, %x, %w, %n) {{espalier.visits = array<i64: 100>}}
          : (memref<4x64x16xf32>, memref<4x64x16xf32>, vector<16xf32>, index) -> ()
        return
      }}"""


class Result:
    """What the pass left of ``text``."""

    def __init__(self, text: str, level: str = "filter", registers: int = 32) -> None:
        context = PassContext()
        with ir.Context():
            module = ir.Module.parse(text)
            register_dialect(module.context)
            set_device(module.operation, Device(registers=registers))
            EliminateRedundantLoadsPass(level).run(module.operation, context)
            module.operation.verify()
            self.loads = len(operations(module.operation, vector.LoadOp))
            self.clobbers = str(module).count("~{memory}")
            self.calls = [
                tuple(
                    ir.IntegerAttr(call.attributes[f"espalier.loads_{when}"]).value
                    for when in ("before", "after")
                )
                for call in operations(module.operation, func.CallOp)
                if "espalier.visits" in call.attributes
            ]
        self.statistics: Counter[str] = context.statistics


# Two weights of a kernel in rows r and r + 1: output rows 1 to 3 read input rows 1 to 4 (PatDNN, LRE).
FIGURE = [(row + weight, 0) for row in range(1, 4) for weight in (0, 1)]


def test_kernel_level_loads_each_row_once() -> None:
    """PatDNN's figure: row r + 1 serves output rows r and r + 1, so six loads become four."""
    result = Result(kernel(FIGURE), "kernel")
    assert result.loads == 4
    assert result.calls == [(600, 400)]
    assert result.statistics["loads removed (kernel level)"] == 2
    assert result.statistics["loads removed (filter level)"] == 0


def test_filter_level_shares_rows_among_filters() -> None:
    """Two filters of one pattern at one channel: the second filter loads nothing."""
    both = FIGURE + [(line, 1) for line, _ in FIGURE]
    assert Result(kernel(both), "kernel").loads == 8
    result = Result(kernel(both), "filter")
    assert result.loads == 4
    assert result.calls == [(1200, 400)]
    assert result.statistics == {
        "loads before": 12,
        "loads after": 4,
        "loads removed (kernel level)": 4,
        "loads removed (filter level)": 4,
    }


def test_level_none_keeps_loads_and_stops_llvm() -> None:
    result = Result(kernel(FIGURE), "none")
    assert (result.loads, result.clobbers) == (6, 2)
    assert result.calls == [(600, 600)]


def test_kernel_level_stops_llvm_from_sharing_among_filters() -> None:
    result = Result(kernel([(1, 0), (1, 0), (1, 1), (2, 1)]), "kernel")
    assert (result.loads, result.clobbers) == (3, 1)
    assert Result(kernel([(1, 0), (1, 0), (1, 1), (2, 1)]), "filter").clobbers == 0


@pytest.mark.parametrize("level", ["none", "kernel", "filter"])
def test_nothing_is_redundant(level: str) -> None:
    result = Result(kernel([(line, 0) for line in range(6)]), level)
    assert (result.loads, result.clobbers) == (6, 0)


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        ("vector.store %w, %y[%c, %3, %0] : memref<4x64x16xf32>, vector<16xf32>", 0),
        ("func.call @helper() : () -> ()", 0),
        ("scf.if %p { vector.store %w, %y[%c, %3, %0] : memref<4x64x16xf32>, vector<16xf32> }", 0),
        ('"foreign.op"() : () -> ()', 0),
        ("%u = memref.load %y[%c, %3, %0] : memref<4x64x16xf32>", 1),
        ("%u = arith.addi %c, %3 : index", 1),
    ],
    ids=["store", "call", "store inside", "unknown", "read", "arithmetic"],
)
def test_what_may_write_ends_what_is_known(text: str, removed: int) -> None:
    text = text.replace("%p", "%true")
    code = kernel([(1, 0), (1, 0)], between={1: f"%true = arith.constant true\n{text}"})
    with ir.Context() as context:
        context.allow_unregistered_dialects = True
        module, statistics = ir.Module.parse(code), PassContext()
        EliminateRedundantLoadsPass().run(module.operation, statistics)
    assert statistics.statistics["loads before"] - statistics.statistics["loads after"] == removed


def test_other_addresses_are_other_loads() -> None:
    """Another memref, another channel, another type."""
    other = "%o = vector.load %y[%c, %1, %0] : memref<4x64x16xf32>, vector<16xf32>"
    channel = "%p = vector.load %x[%1, %1, %0] : memref<4x64x16xf32>, vector<16xf32>"
    narrow = "%q = vector.load %x[%c, %1, %0] : memref<4x64x16xf32>, vector<8xf32>"
    result = Result(kernel([(1, 0), (1, 0)], between={1: "\n".join((other, channel, narrow))}))
    assert result.loads == 4


def test_equal_sums_are_equal_addresses() -> None:
    """The lowering adds up each address anew."""
    sums = "\n".join(
        f"%s{i} = arith.addi {a}, {b} : index\n%t{i} = arith.muli %s{i}, %3 : index\n"
        f"%l{i} = vector.load %x[%c, %t{i}, %0] : memref<4x64x16xf32>, vector<16xf32>"
        for i, (a, b) in enumerate([("%c", "%5"), ("%5", "%c"), ("%c", "%6")])
    )
    assert Result(kernel([(1, 0)], between={0: sums})).loads == 3


def test_constants_are_compared_by_value() -> None:
    load = "%l = vector.load %x[%c, %again, %0] : memref<4x64x16xf32>, vector<16xf32>"
    again = f"%again = arith.constant 1 : index\n{load}"
    assert Result(kernel([(1, 0)], between={0: again})).loads == 1


def test_blocks_share_nothing() -> None:
    """A value of one block need not be in a register in another."""
    inner = "scf.if %true { %l = vector.load %x[%c, %1, %0] : memref<4x64x16xf32>, vector<16xf32> }"
    text = kernel([(1, 0), (2, 0)], between={1: f"%true = arith.constant true\n{inner}"})
    assert Result(text).loads == 3


@pytest.mark.parametrize(("registers", "loads"), [(32, 4), (9, 4), (8, 5), (7, 6), (6, 8), (3, 8)])
def test_lines_that_fit_no_register_are_loaded_again(registers: int, loads: int) -> None:
    """Four lines twice round beside four accumulators and a weight. With three free registers line 4 drives
    out 3, the one needed last (4 is being read); with two, line 2 goes as well; one holds no line over."""
    result = Result(kernel([(line, 0) for line in (1, 2, 3, 4, 1, 2, 3, 4)]), registers=registers)
    assert result.loads == loads


def test_neighbouring_reads_need_one_register() -> None:
    result = Result(kernel([(line, 0) for line in (1, 1, 2, 2, 3, 3)], accumulators=8), registers=9)
    assert result.loads == 3


def test_broadcast_weights_take_registers() -> None:
    reads = [(1, 0), (2, 0), (1, 0), (2, 0)]
    weights = "\n".join(f"%b{i} = vector.broadcast %s : f32 to vector<16xf32>" for i in range(3))
    scalar = "%s = memref.load %x[%c, %0, %0] : memref<4x64x16xf32>\n"
    uses = "\n".join(f"%u{i} = arith.addf %b{i}, %b{i} : vector<16xf32>" for i in range(3))
    live = kernel(reads, between={0: scalar + weights, 3: uses})
    assert Result(kernel(reads), registers=7).loads == 2
    assert Result(live, registers=7).loads == 4
    assert Result(live, registers=10).loads == 2


def test_running_twice_changes_nothing_more() -> None:
    with ir.Context():
        module = ir.Module.parse(kernel(FIGURE))
        EliminateRedundantLoadsPass().run(module.operation, PassContext())
        once = PassContext()
        EliminateRedundantLoadsPass().run(module.operation, once)
    assert once.statistics["loads before"] == once.statistics["loads after"] == 4


def test_calls_without_visits_get_no_counts() -> None:
    assert Result(kernel(FIGURE).replace("{espalier.visits = array<i64: 100>}", "")).calls == []


def test_thousands_of_loads() -> None:
    """A cycle of 40 lines beside 7 registers, 32 less 24 sums and a weight: Belady's rule serves 6 of 39."""
    found = Result(kernel([(line % 40, line % 4) for line in range(6000)], accumulators=24))
    assert 6000 - found.loads == pytest.approx((6000 - 40) * 6 / 39, abs=2)
