"""What is read from AArch64 assembly: innermost loops, their multiplies, what touches the stack, cycles."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.programs import lacking
from espalier.runtime.model_file import ModelFile
from espalier.tools.count import static
from espalier.tools.count.emulator import Counts
from espalier.tools.count.loops import (
    REFERENCE_CORES,
    Loop,
    all_cycles,
    cycles,
    inner_loops,
    share_of_peak,
)
from espalier.tools.count.static import static_cycles, static_loops, static_table

MULTIPLIES = "\n".join(f"\tfmla\tv{n}.4s, v16.4s, v17.s[0]" for n in range(4))
NESTED = f"""
kernel:
\tstp\tx29, x30, [sp, #-16]!
\tmov\tx29, sp
.LBB0_1:
\tldr\tq16, [sp, #32]                 // 16-byte Folded Reload
\t.p2align 5
.LBB0_2:
\tldr\tq17, [x1], #16
{MULTIPLIES}
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_2
\tadd\tx0, x0, #1
\tcbnz\tx0, .LBB0_1
.LBB0_3:
\tldur\tq16, [x29, #-32]
{MULTIPLIES}
\ttbz\tw2, #3, .LBB0_3
\tret
other:
.LBB1_1:
\tldr\tq17, [x29], #16
{MULTIPLIES}
\tb\t.LBB1_1
.LBB1_2:
\tldr\tq17, [x1], #16
\tb.ne\t.LBB1_2
\tb\t.LBB1_3
.LBB1_3:
\tret
"""


def test_innermost_loops_with_multiplies() -> None:
    """Neither the loop around another, nor one without multiplies, nor a branch ahead."""
    found = inner_loops(NESTED)
    assert [(loop.function, len(loop.body), loop.multiplies) for loop in found] == [
        ("kernel", 7, 4), ("kernel", 6, 4), ("other", 6, 4)]
    assert found[0].per_multiply == 7 / 4


def test_spills_are_what_touches_the_stack_inside_the_loop() -> None:
    """x29 is the stack's only where the function sets it so."""
    inner, framed, other = inner_loops(NESTED)
    assert inner.spills == other.spills == ()
    assert framed.spills == ("ldur q16, [x29, #-32]",)
    spilt = inner_loops(NESTED.replace("q17, [x1], #16", "q17, [sp, #64]", 1))
    assert spilt[0].spills == ("ldr q17, [sp, #64]",)


def test_static_cycles_are_of_loops_as_often_as_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 multiplies an iteration of both loops of ``kernel``: 100 turns; what is outside takes a quarter."""
    monkeypatch.setattr(static, "all_cycles", lambda loops, model: [5.0, 3.0, 2.0][: len(loops)])
    layers = [{"name": "a", "functions": ["kernel"]},
              {"name": "b", "functions": ["other"], "fused_into": "c"}, {"name": "d", "functions": []}]
    counted = [("a", Counts(1500, 700)), ("c", Counts(40, 20)), ("a", Counts(200, 100)), ("d", Counts(80))]
    found = static_cycles(counted, layers, NESTED, REFERENCE_CORES["cortex-a76"])
    inside = 100 * (7 + 6)
    assert found == {"a": 100 * (5 + 3) + (1700 - inside) // 4, "c": 5 * 2 + (40 - 5 * 6) // 4, "d": 20}


needs_mca = pytest.mark.skipif(bool(lacking("llvm-mca")), reason=lacking("llvm-mca"))


@needs_mca
def test_independent_multiplies_reach_the_peak() -> None:
    """16 accumulators keep the pipes of the out-of-order cores busy; one alone waits for itself."""
    many = Loop("many", tuple(f"fmla v{n}.4s, v30.4s, v31.s[0]" for n in range(16)), False)
    one = Loop("one", ("fmla v0.4s, v30.4s, v31.s[0]",) * 16, False)
    for name in ("cortex-a76", "cortex-x1"):
        model = REFERENCE_CORES[name]
        assert cycles(many, model) == pytest.approx(16 / model.peak, rel=0.05)
        assert share_of_peak([many], model) > 0.95
        assert all_cycles([many, one, many], model) == [cycles(loop, model) for loop in (many, one, many)]
        assert share_of_peak([one], model) < 0.5 * share_of_peak([many], model)


@needs_mca
def test_loops_of_layers() -> None:
    """By the functions that the model says compute a layer; one without loops has no row."""
    layers = [{"name": "a", "functions": ["other"]}, {"name": "b", "functions": ["kernel", "gone"]},
              {"name": "c", "functions": []}]
    file = ModelFile({"layers": layers}, b"", np.zeros(0, np.uint8), "")
    asked = []

    def compile_for(core: str) -> tuple[ModelFile, str]:
        asked.append(core)
        return file, NESTED

    found = static_loops(compile_for)
    assert asked == list(REFERENCE_CORES)
    assert [(layer.name, len(layer.loops["cortex-x1"])) for layer in found] == [("a", 1), ("b", 2)]
    assert static_table(found).row_count == 6
    (first, second) = found[1].as_json()["cores"]["cortex-a76"]
    assert (first["spills"], second["spills"], second["fmlas"]) == (0, 1, 4)
    assert 0 < first["cycles"] < 10


@needs_mca
def test_what_the_analyser_does_not_read_is_an_error() -> None:
    with pytest.raises(EspalierError, match="llvm-mca failed on a loop of kernel"):
        cycles(Loop("kernel", ("no instruction",), False), REFERENCE_CORES["cortex-x1"])
