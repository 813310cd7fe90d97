"""Every storage: what was packed comes back exactly, whatever the mask, and its arrays have their forms."""

from __future__ import annotations

from math import gcd

import numpy as np
import pytest
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.errors import EspalierError
from espalier.sparse_dialect.schemes import (
    SCHEMES,
    Bcr,
    Connectivity,
    Dense,
    Kgs,
    Scheme,
    SharedColumns,
    Structured,
    Unstructured,
)
from espalier.sparse_dialect.schemes.kernels import KernelScheme
from espalier.sparse_dialect.storage import (
    STORAGES,
    Bcrc,
    ColumnGroups,
    Csr,
    DenseKernels,
    DenseRows,
    Fkw,
    KeptRows,
    KgsArrays,
    Packed,
    Sell,
    Storage,
)
from espalier.sparse_dialect.storage.choice import convolution_storage, matrix_storage
from espalier.sparse_dialect.storage.column_groups import regrouped, ungrouped
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.tiers import examples

KERNELS = st.sampled_from([(1, 1), (3,), (2, 2), (2, 1, 3)])
VALUES = st.sampled_from([0, 0, 0, 1, -2, 0.5])
SIZES = st.integers(1, 6)


def found_forms(packed: Packed) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtypes and shapes of the arrays, as the verifier sees them."""
    return {name: (array.dtype.name, array.shape) for name, array in packed.arrays.items()}


def check(storage: Storage, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None = None) -> Packed:
    """The weight in ``storage``: it comes back, its arrays have their forms, its sizes add up."""
    packed = storage.pack(weight, scheme, order)
    unpacked = packed.unpack()
    assert unpacked.dtype == np.float32
    np.testing.assert_array_equal(unpacked, weight)
    assert storage.complaint(scheme, weight.shape, found_forms(packed)) == ""
    assert packed.bytes == sum(array.nbytes for array in packed.arrays.values())
    assert packed.index_bytes + 4 * packed.stored in (packed.bytes, packed.index_bytes)
    assert packed.stored >= np.count_nonzero(weight)
    return packed


def divisor(draw: st.DrawFn, number: int) -> int:
    return draw(st.sampled_from([size for size in range(1, number + 1) if number % size == 0]))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A weight [F, C / groups, *kernel] and its number of groups."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    shape = (groups * draw(SIZES), draw(SIZES), *draw(KERNELS))
    return draw(arrays(np.float32, shape, elements=VALUES)), groups


@settings(max_examples=examples(200), deadline=None)
@given(st.data(), convolutions())
def test_convolutions_come_back(data: st.DataObject, case: tuple[np.ndarray, int]) -> None:
    """Every scheme that the mask follows, in what runs and in what is written for comparison; whatever order
    the filters come in, channel blocks and filters that share rows."""
    weight, groups = case
    block = divisor(data.draw, weight.shape[1] * groups)
    order = np.array(data.draw(st.permutations(range(len(weight)))))
    for kind in SCHEMES.values():
        scheme = kind.detect(weight)
        if scheme is None:
            continue
        if isinstance(scheme, KernelScheme):
            shared = groups == 1 and len(scheme.patterns(weight.shape[2:])) == 1
            size = data.draw(st.integers(1, 4)) if shared and len(weight) <= 8 else 1
            check(Fkw(size, block, groups), weight, scheme, order)
        if isinstance(scheme, SharedColumns):
            size = scheme.filter_groups(ungrouped(weight, groups)).shape[1]
            check(ColumnGroups(size, gcd(scheme.channels_together, block), block, groups), weight, scheme)
        check(Csr(), weight, scheme, order)
        check(Bcrc(), weight, scheme, order)
    check(DenseKernels(data.draw(st.integers(1, 5))), weight, Dense())


@settings(max_examples=examples(100), deadline=None)
@given(st.data(), convolutions(), st.integers(1, 5), st.integers(1, 4))
def test_groups_come_back_whatever_the_mask(data: st.DataObject, case: tuple[np.ndarray, int], filters: int,
                                            channels: int) -> None:
    """Storages of shared columns and of kernel groups lose nothing of masks that do not follow the scheme."""
    weight, groups = case
    block = divisor(data.draw, weight.shape[1] * groups)
    members = np.array(data.draw(st.permutations(range(len(weight)))))
    short = -len(weight) % filters  # the last group repeats a filter
    order = np.append(members, np.repeat(members[-1:], short))
    check(ColumnGroups(filters, divisor(data.draw, block), block, groups), weight, Bcr(filters, 1), order)
    check(KgsArrays(), weight, Kgs(filters, channels, weight.shape[2:]))


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from([1, 3, 4]), st.integers(1, 30), st.integers(1, 40), st.sampled_from([4, 8, 16]),
       st.sampled_from(["avx512", "avx2", "cortex-a76"]), st.sampled_from([0.0, 0.1, 0.6]), st.booleans(),
       st.integers(0, 99))
def test_matrices_come_back(gates: int, rows: int, columns: int, lanes: int, core: str, density: float,
                            many: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    weight = random.uniform(0.5, 1.5, (gates * rows, columns)).astype(np.float32)
    check(DenseRows(lanes, gates if gates > 1 else 4, gates), weight, Dense())
    weight *= random.random(weight.shape) < density
    storage = matrix_storage(Unstructured(), weight, lanes, CORES[core], gates, 64 if many else 1)
    assert isinstance(storage, Sell)
    check(storage, weight, Unstructured())
    check(Csr(), weight, Unstructured(), random.permutation(len(weight)))
    check(Bcrc(), weight, Unstructured(), random.permutation(len(weight)))


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.sampled_from([4, 16]), st.integers(0, 99),
       st.sampled_from([0, 0.05, 0.5]))
def test_what_is_left_of_a_matrix_comes_back(rows: int, columns: int, lanes: int, seed: int,
                                             strays: float) -> None:
    random = np.random.default_rng(seed)
    weight = random.uniform(0.5, 1.5, (rows, columns)).astype(np.float32)
    weight[random.random(rows) < 0.4] = 0
    weight[:, random.random(columns) < 0.4] = 0
    weight[0, 0] = 1
    weight[random.random(weight.shape) < strays] = 2
    storage = matrix_storage(Structured(), weight, lanes, CORES["avx512"], 1, 1)
    assert isinstance(storage, KeptRows)
    packed = check(storage, weight, Structured())
    assert ("row" in packed.arrays) == (storage.rows < rows)
    assert ("column" in packed.arrays) == (storage.columns < columns)


@settings(max_examples=examples(60), deadline=None)
@given(convolutions())
def test_ungrouped_and_back(case: tuple[np.ndarray, int]) -> None:
    weight, groups = case
    np.testing.assert_array_equal(regrouped(ungrouped(weight, groups), groups), weight)


def test_what_runs_is_chosen_by_scheme_and_groups() -> None:
    weight = np.ones((8, 4, 3, 3), np.float32)
    chosen = {(scheme.name, groups): convolution_storage(scheme, weight.shape, groups, 1, 4 * groups).name
              for scheme in (Dense(), Connectivity((3, 3)), Bcr(4, 4)) for groups in (1, 2)}
    assert chosen == {("dense", 1): "dense_kernels", ("dense", 2): "fkw", ("connectivity", 1): "fkw",
                      ("connectivity", 2): "fkw", ("bcr", 1): "column_groups", ("bcr", 2): "column_groups"}
    assert {name for name, storage in STORAGES.items() if not storage.runs} == {"bcrc", "kgs", "csr"}


EXAMPLES = {
    "fkw": (Fkw(1, 2), np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1), Connectivity((1, 1))),
    "fkw of pairs": (Fkw(2, 2), np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1), Connectivity((1, 1))),
    "column groups": (ColumnGroups(2, 1, 2), np.ones((4, 4, 2, 1, 1), np.float32), Bcr(2, 1)),
    "sell": (Sell(16, 1, 4, 256), np.eye(16, dtype=np.float32), Unstructured()),
    "dense kernels": (DenseKernels(2), np.ones((4, 4, 3, 3), np.float32), Dense()),
    "dense rows": (DenseRows(4), np.ones((4, 4), np.float32), Dense()),
    "kept rows": (KeptRows(4, 3, 2), np.pad(np.ones((3, 2), np.float32), ((0, 5), (3, 0))), Structured()),
    "kept rows and a stray": (KeptRows(4, 3, 3, 1), np.diag(np.ones(4, np.float32))[[3, 0, 0, 0]] + np.pad(
        np.ones((3, 3), np.float32), ((1, 0), (0, 1))) * 2, Structured()),
    "bcrc": (Bcrc(), np.ones((4, 4), np.float32), Unstructured()),
    "csr": (Csr(), np.ones((4, 4), np.float32), Unstructured()),
    "kgs": (KgsArrays(), np.ones((4, 4, 3), np.float32), Kgs(2, 2, (3,)))}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_array_of_another_size_or_type_is_named(name: str) -> None:
    storage, weight, scheme = EXAMPLES[name]
    forms = found_forms(check(storage, weight, scheme))
    for array, (dtype, shape) in forms.items():
        wrong = {**forms, array: (dtype, (*shape, 2))}
        assert f"expected storage array '{array}' of " in storage.complaint(scheme, weight.shape, wrong)
        wrong = {**forms, array: ("float64", shape)}
        assert f"expected storage array '{array}' of " in storage.complaint(scheme, weight.shape, wrong)
        assert "expected storage arrays" in storage.complaint(
            scheme, weight.shape, {other: form for other, form in forms.items() if other != array})


@pytest.mark.parametrize("name", [name for name, (storage, *_) in EXAMPLES.items() if storage.runs])
def test_what_runs_has_no_array_whose_first_size_may_vary_alone(name: str) -> None:
    """Longer by one, an array contradicts the weight's shape or another array: all but FKW's own counts of
    kernels and weights, which its contents decide."""
    storage, weight, scheme = EXAMPLES[name]
    forms = found_forms(check(storage, weight, scheme))
    for array, (dtype, (first, *rest)) in forms.items():
        wrong = {**forms, array: (dtype, (first + 1, *rest))}
        free = (isinstance(storage, Fkw) and array in ("index", "weight")) or array == "edges"
        assert bool(storage.complaint(scheme, weight.shape, wrong)) != free, array


@pytest.mark.parametrize(("storage", "weight", "scheme", "message"), [
    (Fkw(), np.ones((4, 4), np.float32), Unstructured(), "a convolution whose kernels follow patterns"),
    (ColumnGroups(2), np.ones((4, 4, 1), np.float32), Dense(), "expected a convolution whose filters share"),
    (ColumnGroups(2, 3), np.ones((4, 4, 1), np.float32), Bcr(2, 1), "a unit that divides 4 channels"),
    (Sell(16, 3, 4, 64), np.ones((4, 4), np.float32), Unstructured(), "a group of"),
    (Sell(16, 1, 4, 64, gates=3), np.ones((6, 4), np.float32), Unstructured(), "whole runs of 3 gates"),
    (Sell(16, 1, 4, 64), np.ones((4, 4, 1), np.float32), Unstructured(), "expected a matrix"),
    (DenseKernels(0), np.ones((4, 4, 1), np.float32), Dense(), "expected a filters_per_group of 1 or more"),
    (KeptRows(4, 2, 3), np.eye(4, dtype=np.float32), Structured(), "made for 2 rows and 3 columns"),
    (KeptRows(4, 5, 3), np.ones((4, 4), np.float32), Structured(), "expected 1 to 4 rows and 1 to 4"),
    (KeptRows(4, 2, 3), np.ones((4, 4), np.float32), Unstructured(), "of which rows or columns are cut"),
    (DenseRows(4, 4, 3), np.ones((6, 4), np.float32), Dense(), "expected a vector for each of 3 gates"),
    (DenseRows(0), np.ones((6, 4), np.float32), Dense(), "of 1 or more")])
def test_what_cannot_be_kept_so_is_a_clear_error(storage: Storage, weight: np.ndarray, scheme: Scheme,
                                                 message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        storage.pack(weight, scheme)


@pytest.mark.parametrize("storage", [DenseKernels(1), Sell(16, 1, 4, 64), DenseRows(4)])
def test_storages_that_keep_their_own_order_refuse_another(storage: Storage) -> None:
    matrix = not isinstance(storage, DenseKernels)
    weight = np.ones((4, 4), np.float32) if matrix else np.ones((4, 4, 1), np.float32)
    with pytest.raises(EspalierError, match="order"):
        storage.pack(weight, Dense(), np.arange(4))
