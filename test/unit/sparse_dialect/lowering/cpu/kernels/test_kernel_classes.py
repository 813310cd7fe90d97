"""The convolution kernel, compiled and run against PyTorch: schemes, epilogues, geometries, unit ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from espalier.sparse_dialect.geometry.layouts import Three
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.lowering.cpu.kernels import tile
from espalier.sparse_dialect.lowering.cpu.kernels.kernel_classes import (
    ConvKernel,
    KernelClass,
    emit_conv_kernel,
    mixed_lines,
)
from espalier.sparse_dialect.lowering.cpu.plan.conv_plan import ConvPlan
from espalier.sparse_dialect.schemes import Connectivity, Dense, Pattern, Scheme, Unstructured
from espalier.sparse_dialect.storage import DenseKernels, Fkw
from espalier.sparse_dialect.storage.chunks import thread_chunks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.conv_harness import POINT, SAME, ConvRun
from support.conv_harness import Case as ConvCase
from support.kernel_harness import Emit, close, random, starting_at_pages
from support.patdnn import CORNERS
from support.tiers import examples


@dataclass(frozen=True)
class Case(ConvCase):
    """``group`` filters share loads; ``fetches``: what is packed next is asked for ahead; ``mixed``: the
    kernels of all classes come in one run."""

    group: int = 1
    fetches: bool = False
    mixed: bool = False


class Run(ConvRun):
    """A case with kernel classes."""

    kernel: ConvKernel

    def __init__(self, case: Case, seed: int = 0) -> None:
        self.case = case
        super().__init__(case, seed)

    def pack(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        weight, self.scheme = make_weight(self.case, seed)
        self.arrays = pack(self.case, weight, self.scheme)
        return weight, self.arrays

    def make_kernel(self, common: dict[str, Any]) -> ConvKernel:
        case = self.case
        storage = storage_of(case)
        terms = storage.classes(self.scheme, case.window.kernel)
        return ConvKernel(**common, group=case.group, classes=tuple(map(KernelClass, terms)),
                          dense=isinstance(storage, DenseKernels), fetches=case.fetches,
                          mixed=case.mixed, chunks=thread_chunks(case.filters // case.group))

    def tables(self, plan: ConvPlan) -> list[np.ndarray]:
        return [mixed_lines(self.kernel, plan, *self.arrays[2:4])] if self.case.mixed else []

    def emitter(self, plan: ConvPlan) -> Emit:
        return lambda *to: emit_conv_kernel(*to[:2], self.kernel, plan, *to[2:])


def make_weight(case: Case, seed: int) -> tuple[np.ndarray, Scheme]:
    """A weight [F, C / groups, *kernel] that follows the case's scheme; the first filter keeps nothing."""
    generator = np.random.default_rng(seed)
    shape = (case.filters, case.channels // case.groups, *case.window.kernel)
    weight = random(*shape, seed=seed)
    kept = generator.random(shape[:2]) < 0.5
    kept[0] = False
    match case.scheme:
        case "dense":
            return weight, Dense()
        case "connectivity":
            return weight * kept[:, :, None, None, None], Connectivity(case.window.kernel)
        case "unstructured":
            return weight * (generator.random(shape) < 0.3), Unstructured()
        case "grouped":
            return weight, Dense()
    library = np.zeros((4, 9), bool)
    for at, places in enumerate(CORNERS):
        library[at, list(places)] = True
    patterns = library[generator.integers(0, 4, shape[:2])].reshape(shape)
    return weight * patterns * kept[:, :, None, None, None], Pattern(case.window.kernel, CORNERS)


def storage_of(case: Case) -> Fkw | DenseKernels:
    """What the case's kernel reads."""
    if case.scheme == "dense":
        return DenseKernels(case.group)
    return Fkw(case.group, case.block or case.channels, case.groups, case.mixed)


def pack(case: Case, weight: np.ndarray, scheme: Scheme) -> list[np.ndarray]:
    """The storage arrays, filters in an order of their own."""
    order = np.random.default_rng(1).permutation(case.filters) if case.groups == 1 else None
    packed = storage_of(case).pack(weight, scheme, None if case.scheme == "dense" else order)
    assert np.array_equal(packed.unpack(), weight)
    return list(packed.arrays.values())


IN_PLACE = Case("pattern", height=40, width=40, fetches=True)
POINTWISE = Case("connectivity", POINT, padding_high=(0, 0), tile=(1, 4))
VOLUME = Case(
    "connectivity", Window.of((3, 3, 3), padding=(1, 1, 1)), depth=4, padding_high=(1, 1, 1), tile=(2, 2, 3))
CASES = {
    "pattern": Case("pattern"),
    "connectivity": Case("connectivity"),
    "unstructured": Case("unstructured"),
    "dense": Case("dense"),
    "dense, filters share loads": Case("dense", group=4),
    "dense from planes, as first layers": Case("dense", channels=3, group=4, source_high=None),
    "batch": Case("pattern", batch=3),
    "odd image": Case("pattern", height=13, width=11),
    "stride 2": Case("pattern", replace(SAME, strides=(1, 2, 2)), height=16, width=14),
    "stride 3, dilation 2": Case(
        "unstructured", Window.of((3, 3), (3, 3), (2, 2), (2, 2)), height=17, width=20
    ),
    "one-sided padding": Case("dense", Window.of((3, 3), (2, 2)), height=14, width=14),
    "7 x 7 from planes": Case(
        "dense",
        Window.of((7, 7), (2, 2), (3, 3)),
        3,
        source_high=None,
        padding_high=(3, 3),
        height=20,
        width=20,
    ),
    "1 x 3": Case("connectivity", Window.of((1, 3), padding=(0, 1)), padding_high=(0, 1)),
    "input on another grid": Case("pattern", source_high=1, target_high=8),
    "8 lanes": Case("pattern", lanes=8, source_high=2, target_high=2),
    "4 lanes": Case("pattern", lanes=4, source_high=2, target_high=1),
    "relu": Case("pattern", activation="relu"),
    "relu6": Case("dense", activation="relu6", group=2),
    "residual": Case("pattern", residual=True),
    "residual, then relu": Case("dense", residual=True, activation="relu", group=2),
    "fused pool": Case("pattern", height=16, width=16, pool=(1, 2, 2), tile=(2, 4)),
    "fused pool, relu, batch": Case(
        "dense", group=2, height=16, width=16, pool=(1, 2, 2), tile=(2, 2), activation="relu", batch=2
    ),
    "channel blocks": Case("pattern", block=2),
    "channel blocks, epilogue": Case("connectivity", block=4, residual=True, activation="relu", batch=2),
    "channel blocks, pool": Case("pattern", block=4, height=16, width=16, pool=(1, 2, 2), tile=(2, 2)),
    "in place": IN_PLACE,
    "in place, blocks, a batch of odd images": replace(IN_PLACE, block=4, batch=2, height=37, width=39),
    "in place, more channels than filters": replace(IN_PLACE, filters=4),
    "in place, 8 lanes": replace(IN_PLACE, lanes=8, source_high=2, target_high=2),
    "in place, volume": replace(VOLUME, depth=6, height=40, width=40, fetches=True),
    "blocks, unstructured": Case("unstructured", block=4),
    "1 x 1 reads its input in place": POINTWISE,
    "1 x 1 in blocks": replace(POINTWISE, block=2, residual=True),
    "1 x 1, pairs of filters": replace(POINTWISE, group=2),
    "1 x 1, pairs in blocks": replace(POINTWISE, group=2, block=4, activation="relu6"),
    "1 x 1, fours of filters": replace(POINTWISE, group=4),
    "1 x 1, stride 2": replace(POINTWISE, window=Window.of((1, 1), (2, 2)), group=2, tile=(2, 2)),
    "1 x 1, dense": replace(POINTWISE, scheme="dense", group=4),
    "3 x 3, pairs of filters": Case("connectivity", group=2),
    "mixed": Case("pattern", mixed=True),
    "mixed, stride 2, blocks, another grid": Case(
        "pattern", replace(SAME, strides=(1, 2, 2)), height=15, width=14, source_high=1, block=2, mixed=True),
    "mixed, few lines, residual": Case("unstructured", tile=(1, 1), residual=True, mixed=True),
    "mixed, 4 lanes, by lane": Case(
        "pattern", lanes=4, source_high=2, target_high=1, core="cortex-a76", mixed=True),
    "grouped": Case("grouped", groups=2),
    "grouped by 4, stride 2": Case("grouped", replace(SAME, strides=(1, 2, 2)), groups=4),
    "loads as they come": Case("pattern", level="none"),
    "loads shared in a filter": Case("dense", group=4, level="kernel"),
    "grouped pattern": Case("pattern", groups=2),
    "grouped, unstructured, epilogue": Case("unstructured", groups=2, residual=True, activation="relu"),
    "1 x 1, pool": replace(POINTWISE, height=16, width=16, pool=(1, 2, 2), tile=(2, 2)),
    "signal": Case("dense", Window.of((5,), (2,), (2,)), height=1, width=37, source_high=1, target_high=1,
                   padding_high=(2,)),
    "volume": VOLUME,
    "volume, dense": replace(VOLUME, scheme="dense", group=4),
    "volume, unstructured": replace(VOLUME, scheme="unstructured"),
    "volume, depth alone": replace(
        VOLUME, window=Window.of((3, 1, 1), padding=(1, 0, 0)), padding_high=(1, 0, 0), residual=True),
    "volume, strides and dilations": replace(
        VOLUME, window=Window((3, 3, 3), (2, 1, 2), (1, 2, 0), (1, 2, 1)), depth=5, width=15),
    "volume from rows": replace(VOLUME, scheme="dense", channels=3, source_high=None, group=2),
    "volume, other grid": replace(VOLUME, source_high=16, target_high=2),
    "volume, 4 lanes, batch, blocks, epilogue": replace(
        VOLUME, lanes=4, source_high=2, target_high=1, batch=2, block=4, residual=True, activation="relu"),
    "volume, pool": replace(VOLUME, height=16, width=16, pool=(2, 2, 2), tile=(2, 2, 2)),
    "volume, pool of slices": replace(VOLUME, height=16, width=16, pool=(1, 2, 2), tile=(2, 2, 2)),
    "volume, grouped": replace(VOLUME, scheme="grouped", groups=2),
    "volume, 1 x 1 x 1": replace(VOLUME, window=POINT, padding_high=(0,), group=2, tile=(1, 7)),
    "one chunk": Case("pattern", filters=11),
    "one pixel": Case("pattern", height=1, width=1, tile=(1, 1)),
}
ARM = (
    "pattern", "connectivity", "unstructured", "dense, filters share loads", "4 lanes", "8 lanes",
    "dense from planes, as first layers", "7 x 7 from planes", "relu6", "residual, then relu",
    "fused pool, relu, batch", "channel blocks, epilogue", "1 x 1 reads its input in place",
    "1 x 1, pairs in blocks", "1 x 1, fours of filters", "1 x 1, dense", "loads as they come",
    "volume, dense",
)
CASES |= {f"{name}, for Arm": replace(CASES[name], core="cortex-a76") for name in ARM}

IN_F16 = {"lanes": 8, "source_high": 2, "target_high": 2, "core": "cortex-a76", "dtype": "float16"}
CASES |= {f"{name}, in f16": replace(case, **IN_F16) for name, case in {
    "pattern": Case("pattern", activation="relu6", residual=True),
    "pattern, channel blocks": Case("pattern", block=2, residual=True),
    "dense, filters share loads, channel blocks": Case("dense", group=4, block=2),
    "fused pool, channel blocks": Case("pattern", height=16, width=16, pool=(1, 2, 2), tile=(2, 2), block=4),
    "stride 2, dense": Case("dense", replace(SAME, strides=(1, 2, 2)), height=16, width=14),
    "1x1": POINTWISE, "volume": VOLUME}.items()}
CASES["from planes, in f16"] = replace(Case("dense", channels=3, group=4), **IN_F16 | {"source_high": None})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_is_pytorchs_convolution(case: Case) -> None:
    Run(case).check()


def numbers(low: int, high: int) -> st.SearchStrategy[Three]:
    return st.tuples(*[st.integers(low, high)] * 3)


@settings(max_examples=examples(12), deadline=None)
@given(st.data())
def test_any_3d_convolution(data: st.DataObject) -> None:
    window = Window(*(data.draw(numbers(*range_)) for range_ in ((1, 3), (1, 3), (0, 3), (1, 2))))
    channels = data.draw(st.sampled_from([1, 2, 6]))
    groups = data.draw(st.sampled_from([1, 2] if channels > 1 else [1]))
    scheme = data.draw(st.sampled_from(["connectivity", "unstructured"] if groups == 1 else ["grouped"]))
    case = Case(
        scheme,
        window,
        channels,
        filters=4,
        height=data.draw(st.integers(1, 12)),
        width=data.draw(st.integers(1, 12)),
        depth=data.draw(st.integers(1, 4)),
        lanes=data.draw(st.sampled_from([4, 16])),
        source_high=data.draw(st.sampled_from([None, 1, 4])),
        target_high=data.draw(st.sampled_from([1, 2, 4])),
        tile=data.draw(numbers(1, 2)),
        padding_high=data.draw(numbers(0, 3)),
        batch=data.draw(st.integers(1, 2)),
        activation=data.draw(st.sampled_from(["none", "relu"])),
        residual=data.draw(st.booleans()),
        groups=groups,
    )
    assume(min(case.output) >= 1)
    Run(case).check()


@pytest.mark.parametrize(
    "case",
    [
        Case("pattern", block=2, batch=2, residual=True),
        replace(IN_PLACE, block=4),
        Case("dense", group=2, filters=16, pool=(1, 2, 2), height=16, width=16, tile=(2, 2)),
        replace(POINTWISE, group=2, filters=24, block=4),
    ],
    ids=["pattern in blocks", "in place", "dense with a pool", "pairs in blocks"],
)
def test_units_in_any_pieces_give_the_same_bits(case: Case) -> None:
    """Threads get ranges of units; ranges may start and end inside an item, in any order."""
    run = Run(case)
    whole = run.whole()
    close(whole, run.expected)
    generator = np.random.default_rng(0)
    for _ in range(4):
        run.output[:] = np.nan
        for at, kernel in enumerate(run.compiled):
            edges = np.unique([0, *generator.integers(0, run.units(at) + 1, 6), run.units(at)])
            for piece in generator.permutation(len(edges) - 1):
                kernel.run(int(edges[piece]), int(edges[piece + 1]))
        np.testing.assert_array_equal(run.got(), whole)


def test_large_outputs_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the caches; the values are the same. A limit of zero makes this output large."""
    case = Case("pattern", residual=True, activation="relu")
    assert not Run(case).kernel.streams(64)
    monkeypatch.setattr(tile, "STREAMING_BYTES", 0)
    run = Run(case)
    assert run.kernel.streams(64)
    run.check()


def test_f16_sums_that_start_anew_keep_more_digits() -> None:
    """Sums of 512 products, most of which are positive, whole and in blocks of 64."""
    case = replace(Case("connectivity", POINT, channels=512, padding_high=(0, 0)), **IN_F16)

    def error(block: int) -> float:
        run = Run(replace(case, block=block))
        return float(np.abs(run.whole() - run.expected).max())

    assert error(64) < 0.5 * error(512)


def test_no_units_store_nothing() -> None:
    run = Run(Case("pattern"))
    for kernel in run.compiled:
        kernel.run(3, 3)
    assert np.isnan(run.output).all()


def test_a_range_stores_only_its_own_units() -> None:
    """One unit is one chunk of filters of one tile."""
    run = Run(Case("pattern", filters=16))
    run.compiled[0].run(1, 2)
    stored = ~np.isnan(run.output).all(axis=(0, 2, 3))
    assert stored.sum() == 16 // run.kernel.chunks


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
def test_nan_passes_through(activation: str) -> None:
    """As in PyTorch: no activation hides a NaN."""
    run = Run(Case("dense", activation=activation))
    for kernel in run.compiled:
        kernel.arrays[2][0] = np.nan  # the bias of filter 0
    got = run.whole()
    assert np.isnan(got[:, 0]).all()
    close(got[:, 1:], run.expected[:, 1:])


@pytest.mark.slow
def test_levels_of_load_elimination_give_the_same_bits() -> None:
    results = {level: Run(Case("dense", group=4, level=level)) for level in ("none", "kernel", "filter")}
    outputs = [run.whole() for run in results.values()]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    after = [sum(kernel.loads["loads after"] for kernel in run.compiled) for run in results.values()]
    assert after[0] > after[1] > after[2]


def test_nothing_before_its_arrays_is_touched() -> None:
    """Behind them neither: all cases run on arrays that end at a page without access."""
    with starting_at_pages():
        for case in ("pattern", "dense, filters share loads", "dense from planes, as first layers",
                     "unstructured"):
            Run(CASES[case]).check()


@pytest.mark.parametrize(("terms", "lines", "parts"), [
    (((0, 0), (0, 1), (0, 3), (0, 4)), 4, 2),  # a pattern on an image of few lines
    (((0, 0), (0, 1), (0, 3), (0, 4)), 1, 4),  # no more parts than multiplies
    (((0, 0), (0, 1), (0, 3), (0, 4)), 8, 1),
    (((0, 4),), 2, 1),
    (((0, 4), (1, 4), (0, 5), (1, 5)), 2, 2),  # two filters' sums do not wait for each other
    ((), 4, 1)])
def test_few_lines_are_gathered_in_several_sums(terms: tuple[tuple[int, int], ...], lines: int,
                                                parts: int) -> None:
    assert KernelClass(terms).parts(lines) == parts
