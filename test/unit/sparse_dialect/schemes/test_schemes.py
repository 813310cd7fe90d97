"""Schemes: detection, projection, storage and its inverse, cost; every mask, exactly."""

import numpy as np
import pytest
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme, explain_scheme
from espalier.sparse_dialect.schemes import (
    SCHEMES,
    Connectivity,
    Dense,
    Empty,
    Kgs,
    Pattern,
    Scheme,
    Unstructured,
    natural_library,
)
from espalier.sparse_dialect.schemes.kernels import KernelScheme, repeated
from espalier.sparse_dialect.schemes.scheme import largest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.patdnn import CORNERS, patdnn_example
from support.tiers import examples


def random_weight(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal weights, no exact zeros."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def covered(scheme: KernelScheme, weight: np.ndarray) -> bool:
    """Whether every nonzero lies in a kept kernel, at a tap of its pattern, and no tap is stored twice."""
    kernels, library = scheme.kernels(weight), scheme.patterns(weight.shape[2:])
    kept = np.zeros((*weight.shape[:2], int(np.prod(weight.shape[2:]))), int)
    again = repeated(kernels, library)
    for f, c, p, other in zip(kernels.filters, kernels.channels, kernels.patterns, again, strict=True):
        kept[f, c, [tap for tap, own in zip(library[p], ~other, strict=False) if own]] += 1
    return bool((kept <= 1).all() and (kept.reshape(weight.shape)[weight != 0] == 1).all())


def test_detection_finds_the_papers_library() -> None:
    assert detect_scheme(patdnn_example()) == Pattern((3, 3), CORNERS[:2])


def test_a_kept_weight_that_is_zero_stays_inside_its_pattern() -> None:
    weight = patdnn_example()
    weight[0, 1, 1, 1] = 0
    scheme = detect_scheme(weight)
    assert scheme == Pattern((3, 3), CORNERS[:2])
    assert scheme.multiply_adds(weight) == 9 * 4


def test_short_kernels_no_pattern_covers_share_new_patterns() -> None:
    weight = patdnn_example()
    weight[0, 0].flat[[0, 8]] = 1
    weight[1, 1].flat[[0, 2]] = 1
    scheme = detect_scheme(weight)
    assert isinstance(scheme, Pattern)
    assert len(scheme.library) == 3
    assert scheme.entries == 4
    assert covered(scheme, weight)


@pytest.mark.parametrize(("shape", "entries", "patterns"), [
    ((8, 6, 3, 3), 4, 8), ((8, 6, 3, 3), 1, 3), ((8, 6, 5, 5), 12, 5), ((8, 6, 2, 4), 3, 4),
    ((8, 6, 3), 2, 2), ((8, 6, 3, 3, 3), 8, 6), ((6, 1, 3, 3), 4, 4), ((4, 3, 9, 9), 20, 12),
    ((8, 6, 1, 7), 3, 16)])
def test_projected_patterns_are_detected_and_survive_packing(shape: tuple[int, ...], entries: int,
                                                             patterns: int) -> None:
    weight = Pattern.project(random_weight(*shape), entries=entries, patterns=patterns, connectivity=1.5)
    scheme = Pattern.detect(weight)
    assert scheme is not None
    assert scheme.entries == entries
    assert len(scheme.library) <= patterns
    assert covered(scheme, weight)


def test_patterns_are_rejected_with_the_place_of_the_first_offender() -> None:
    weight = Pattern.project(random_weight(8, 8, 3, 3))
    weight[3, :] = 0
    weight[3, :, [0, 1, 1, 2], [0, 0, 1, 2]] = 1
    weight[3:5, :, 0, 1:] = 1  # more than a few odd kernels
    weight[3, 7] = 1
    assert Pattern.detect(weight) is None
    assert Pattern.why_not(weight) == "kernel (3, 7) keeps 9 entries where most keep 4"
    assert detect_scheme(weight) == Unstructured()


def test_too_many_patterns_are_rejected() -> None:
    weight = random_weight(32, 32, 3, 3)
    kept = np.argsort(np.random.default_rng(1).random((32, 32, 9)), axis=2)[:, :, :4]
    mask = np.zeros((32, 32, 9), bool)
    np.put_along_axis(mask, kept, True, axis=2)
    weight *= mask.reshape(weight.shape)
    assert Pattern.detect(weight) is None
    assert "more than 16" in Pattern.why_not(weight)


@pytest.mark.parametrize(("weight", "scheme"), [
    (Connectivity.project(random_weight(8, 8, 1, 1), rate=3.6), Connectivity((1, 1))),
    (Connectivity.project(random_weight(8, 8, 3, 3), rate=2), Connectivity((3, 3))),
    (Unstructured.project(random_weight(8, 64), rate=8), Unstructured()),
    (Unstructured.project(random_weight(8, 8, 3, 3), rate=3), Unstructured()),
    (random_weight(8, 8, 3, 3), Dense()), (random_weight(8, 8, 1, 1), Dense()),
    (random_weight(8, 64), Dense()),
    (np.zeros((4, 4, 3, 3), np.float32), Empty()), (np.zeros((4, 4), np.float32), Empty())])
def test_detection_picks_the_most_structured_scheme(weight: np.ndarray, scheme: Scheme) -> None:
    assert detect_scheme(weight) == scheme


def test_a_few_accidental_zeros_do_not_break_connectivity() -> None:
    weight = Connectivity.project(random_weight(8, 8, 3, 3), rate=2)
    kept = np.argwhere(weight.any(axis=(2, 3)))[0]
    weight[*kept, 0, 0] = 0
    scheme = detect_scheme(weight)
    assert isinstance(scheme, Connectivity)
    assert covered(scheme, weight)


def test_the_reason_names_every_scheme_passed_over() -> None:
    assert explain_scheme(random_weight(4, 4)).reason == (
        "not kgs: a matrix has no kernels; not bcr: no weight is zero; "
        "not structured: no weight is zero; "
        "not connectivity: a matrix has no kernels; not pattern: a matrix has no kernels; "
        "not n_m: no weight is zero; not unstructured: no weight is zero")
    assert explain_scheme(Kgs.project(random_weight(8, 8, 3, 3))).reason == ""


def test_detection_considers_only_the_schemes_asked_for() -> None:
    weight = patdnn_example()
    assert detect_scheme(weight, ["unstructured"]) == Unstructured()
    assert isinstance(detect_scheme(weight, ["unstructured", "pattern"]), Pattern)  # the faster one
    assert detect_scheme(weight, ["connectivity"]) == Dense()
    with pytest.raises(EspalierError, match="unknown scheme 'bcr2': expected one of kgs, bcr"):
        detect_scheme(weight, ["bcr2"])
    with pytest.raises(EspalierError, match="2 dimensions"):
        detect_scheme(np.ones(3, np.float32))


SHAPES = st.sampled_from([(3, 2, 3, 3), (2, 3, 1, 1), (3, 3, 2, 2), (2, 2, 3), (2, 2, 2, 2, 2), (4, 5),
                          (1, 1, 9, 9)])
VALUES = st.sampled_from([0, 0, 0, 1, -2, 0.5])


@settings(max_examples=examples(300), deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=VALUES)))
def test_whatever_the_mask_a_scheme_covers_it_or_says_why_not(weight: np.ndarray) -> None:
    for name in SCHEMES:
        scheme = SCHEMES[name].detect(weight)
        assert (scheme is None) == bool(SCHEMES[name].why_not(weight))
        if scheme is None:
            continue
        assert scheme.multiply_adds(weight) >= np.count_nonzero(weight)
        if isinstance(scheme, KernelScheme) and weight.ndim > 2:
            assert covered(scheme, weight)


@pytest.mark.parametrize("make", [
    lambda: Pattern((3, 3), ((0, 9),)), lambda: Pattern((3, 3), ((1, 0),)),
    lambda: Pattern((3, 3), ((0,), (0, 1))),
    lambda: Pattern.project(random_weight(2, 2, 3, 3), entries=10),
    lambda: Pattern.project(random_weight(2, 2, 3, 3), connectivity=0.5),
    lambda: Pattern.project(random_weight(2, 2, 3, 3), connectivity=2, balance="net"),
    lambda: Unstructured.project(random_weight(2, 2), rate=0.1),
    lambda: natural_library([np.zeros((1, 1, 3, 3), np.float32)], 4, 8)])
def test_wrong_use_is_a_clear_error(make: object) -> None:
    with pytest.raises(EspalierError):
        make()  # type: ignore[operator]


def test_pattern_projection_is_the_nearest_point() -> None:
    """Compares with every choice of pattern and kernels, on a layer small enough to try them all."""
    from itertools import combinations, product

    weight, library = random_weight(2, 2, 3, 3, seed=3), CORNERS
    best = np.inf
    for kept in combinations(range(4), 2):
        for choice in product(library, repeat=2):
            candidate = np.zeros((4, 9), np.float32)
            for kernel, places in zip(kept, choice, strict=True):
                candidate[kernel, list(places)] = weight.reshape(4, 9)[kernel, list(places)]
            best = min(best, float(np.square(candidate - weight.reshape(4, 9)).sum()))
    projected = Pattern.project(weight, library=library, connectivity=2)
    assert np.square(projected - weight).sum() == pytest.approx(best)


def test_natural_patterns_keep_the_centre_and_the_most_frequent_win() -> None:
    weight = np.full((5, 1, 9), 0.1, np.float32)
    weight[:3, 0, [0, 1, 3]] = 1
    weight[3, 0, [5, 7, 8]] = -1
    weight[4, 0, [1, 2, 5]] = 1
    kernels = weight.reshape(5, 1, 3, 3)
    assert natural_library([kernels], 4, 1) == ((0, 1, 3, 4),)
    assert natural_library([kernels[3:], kernels[:3]], 4, 3) == ((0, 1, 3, 4), (1, 2, 4, 5), (4, 5, 7, 8))


def test_balanced_connectivity_keeps_equally_many_kernels_in_each_filter() -> None:
    weight = random_weight(16, 36, 3, 3) * np.arange(1, 17, dtype=np.float32)[:, None, None, None]
    kept = Pattern.project(weight, connectivity=3.6, balance="filter").any(axis=(2, 3)).sum(axis=1)
    assert set(kept.tolist()) == {10}
    kept = Pattern.project(weight, connectivity=3.6).any(axis=(2, 3)).sum(axis=1)
    assert kept.sum() == 160
    assert kept.max() > kept.min()


@pytest.mark.parametrize("keep", [0, 1, 7, 500, 999, 1000, 2000])
def test_largest_keeps_exactly_as_many_as_asked(keep: int) -> None:
    values = np.random.default_rng(0).integers(-9, 9, (10, 100)).astype(np.float32)
    mask = largest(values, keep)
    assert np.count_nonzero(mask) == min(keep, 1000)
    if 0 < keep < 1000:
        assert np.abs(values[mask]).min() >= np.abs(values[~mask]).max()
