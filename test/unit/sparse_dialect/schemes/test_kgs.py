"""Scheme ``kgs`` (RT3D's KGS and vanilla): projection and detection, in 1-D, 2-D and 3-D."""

import numpy as np
import pytest
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme, explain_scheme
from espalier.sparse_dialect.schemes import Bcr, Connectivity, Kgs
from espalier.sparse_dialect.schemes.shared_columns import nothing_to_share
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.tiers import examples

VOLUME = (3, 3, 3)


def random_weight(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal weights, no exact zeros."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def groups_of(weight: np.ndarray, filters: int, channels: int) -> list[np.ndarray]:
    """The kernels of each group, bool [filters, channels, places], by plain loops."""
    kept = weight.reshape(*weight.shape[:2], -1) != 0
    return [kept[f : f + filters, c : c + channels] for f in range(0, len(weight), filters)
            for c in range(0, weight.shape[1], channels)]


def same_places(group: np.ndarray) -> bool:
    return bool((group == group[0, 0]).all())


KERNELS = st.sampled_from([(1, 1), (3,), (2, 2), (2, 1, 3)])
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7), KERNELS).map(lambda s: (s[0], s[1], *s[2]))
MASKS = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.sampled_from([0, 0, 1, -2, 0.5])))


@settings(max_examples=examples(200), deadline=None)
@given(MASKS, st.integers(1, 9), st.integers(1, 5))
def test_groups_fit_where_they_keep_the_same_places(weight: np.ndarray, filters: int, channels: int) -> None:
    scheme = Kgs(filters, channels, weight.shape[2:])
    assert scheme.multiply_adds(weight) >= np.count_nonzero(weight)
    if filters <= weight.shape[0] and channels <= weight.shape[1]:
        stored = sum(int(group.any(axis=(0, 1)).sum()) * group.shape[0] * group.shape[1]
                     for group in groups_of(weight, filters, channels))
        assert scheme.fits(weight) == (stored <= 1.01 * np.count_nonzero(weight))
    else:
        assert not scheme.fits(weight)


# -- projection and detection --------------------------------------------------------------------------------


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(2, 20), st.integers(2, 9), st.sampled_from([(3, 3), VOLUME, (1, 3, 3), (3,)]),
       st.integers(1, 9), st.integers(1, 6), st.floats(1, 8), st.booleans(), st.sampled_from(["rms", "l2"]))
def test_projection_keeps_whole_units_at_the_rate(
        f: int, c: int, kernel: tuple[int, ...], filters: int, channels: int, rate: float, vanilla: bool,
        score: str) -> None:
    weight = random_weight(f, c, *kernel)
    pruned = Kgs.project(weight, filters=filters, channels=channels, rate=rate, vanilla=vanilla,
                                 score=score)
    assert np.array_equal(pruned[pruned != 0], weight[pruned != 0])
    groups = groups_of(pruned, filters, channels)
    assert all(same_places(group) for group in groups)
    if vanilla:
        assert all(group.all() or not group.any() for group in groups)
    unit = min(filters, f) * min(channels, c) * (int(np.prod(kernel)) if vanilla else 1)
    assert abs(np.count_nonzero(pruned) - weight.size / rate) <= unit or np.count_nonzero(pruned) <= unit


def test_projection_keeps_the_units_of_largest_norm() -> None:
    weight = random_weight(8, 4, 1, 4)
    pruned = Kgs.project(weight, filters=4, channels=2, rate=4, score="l2")
    norms = np.square(weight.reshape(2, 4, 2, 2, 4)).sum(axis=(1, 3))
    kept = (pruned.reshape(2, 4, 2, 2, 4) != 0).any(axis=(1, 3))
    assert kept.sum() == 4
    assert norms[kept].min() > norms[~kept].max()


def test_rms_does_not_punish_the_padding_of_a_cropped_group() -> None:
    weight = np.ones((5, 1, 1, 2), np.float32)
    weight[4] = 1.5  # alone in the second group of four
    kept = {score: Kgs.project(weight, filters=4, channels=1, rate=5, score=score)[4].any()
            for score in ("rms", "l2")}
    assert kept == {"rms": True, "l2": False}


@pytest.mark.parametrize(("shape", "filters", "channels", "found"), [
    ((32, 16, 3, 3, 3), 8, 4, (8, 4)), ((32, 16, 3, 3), 8, 4, (8, 4)), ((20, 10, 3, 3), 8, 4, (8, 4)),
    ((16, 16, 1, 3, 3), 4, 8, (4, 8)), ((16, 12, 3), 5, 3, (5, 3)), ((32, 32, 1, 1), 8, 4, (8, 4))])
@pytest.mark.parametrize("vanilla", [False, True])
def test_what_was_projected_is_detected(shape: tuple[int, ...], filters: int, channels: int,
                                        found: tuple[int, int], vanilla: bool) -> None:
    weight = Kgs.project(random_weight(*shape), filters=filters, channels=channels, rate=3,
                                 vanilla=vanilla)
    assert detect_scheme(weight) == Kgs(*found, shape[2:])


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(2, 40), st.integers(2, 20), st.sampled_from([(1, 1), (3,), (3, 3), VOLUME, (7, 1, 1)]),
       st.integers(2, 32), st.integers(2, 20), st.sampled_from([0.2, 0.5, 0.8]), st.booleans(),
       st.integers(0, 99))
def test_groups_of_any_size_are_detected(f: int, c: int, kernel: tuple[int, ...], filters: int, channels: int,
                                         density: float, vanilla: bool, seed: int) -> None:
    """Whatever they keep, and where they divide neither filters nor channels."""
    weight = random_weight(f, c, *kernel, seed=seed)
    random = np.random.default_rng(seed)
    for p in range(0, f, filters):
        for q in range(0, c, channels):
            weight[p : p + filters, q : q + channels] *= random.random((1,) if vanilla else kernel) < density
    assume(not nothing_to_share(weight))
    found = Kgs.detect(weight)
    assert found is not None
    assert found.fits(weight)


def test_groups_of_one_channel_are_blocks() -> None:
    weight = Kgs.project(random_weight(32, 16, 3, 3), filters=8, channels=1, rate=3)
    assert Kgs.detect(weight) is None
    assert isinstance(detect_scheme(weight), Bcr)


def test_accidental_zeros_do_not_hide_a_group() -> None:
    """As where a batch norm scales a filter to zero."""
    weight = Kgs.project(random_weight(128, 16, 3, 3), rate=3)
    weight[5] = 0
    assert detect_scheme(weight) == Kgs(8, 4, (3, 3))


def test_of_schemes_that_fit_the_fastest_is_chosen() -> None:
    whole_groups = Kgs.project(random_weight(32, 16, 3, 3), rate=3, vanilla=True)
    assert Connectivity.detect(whole_groups)
    assert detect_scheme(whole_groups) == Kgs(8, 4, (3, 3))
    assert detect_scheme(whole_groups, ["connectivity", "unstructured"]) == Connectivity((3, 3))
    kernels = Connectivity.project(random_weight(32, 16, 2, 2), rate=3)
    assert Bcr.detect(kernels)  # a kept kernel is a block of whole columns: but rows share few of those
    assert explain_scheme(kernels).scheme == Connectivity((2, 2))
    assert "bcr fits, but is slower" in explain_scheme(kernels).reason


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 4), (1, 5), VOLUME])
@pytest.mark.parametrize("rate", [2, 3.6, 8])
def test_cut_kernels_are_connectivity(kernel: tuple[int, ...], rate: float) -> None:
    """They are blocks as well, of a kernel's width; but filters that share no columns share no loads."""
    weight = Connectivity.project(random_weight(64, 64, *kernel), rate=rate)
    assert detect_scheme(weight) == Connectivity(kernel)


def test_masks_without_groups_are_not_claimed() -> None:
    assert Kgs.why_not(random_weight(4, 4)) == "a matrix has no kernels"
    assert Kgs.why_not(random_weight(4, 4, 3, 3)) == "no weight is zero"
    assert Kgs.why_not(np.zeros((4, 4, 3, 3), np.float32)) == "no weight is left"
    loose = random_weight(8, 8, 3, 3) * (np.random.default_rng(1).random((8, 8, 3, 3)) < 0.3)
    assert Kgs.why_not(loose) == "no groups of 2 x 2 or more kernels keep the same places"


@pytest.mark.parametrize("make", [
    lambda: Kgs(0, 4, (3, 3)), lambda: Kgs(8, 0, (3, 3)),
    lambda: Kgs.project(random_weight(8, 8)),
    lambda: Kgs.project(random_weight(8, 8, 3), rate=0.5),
    lambda: Kgs.project(random_weight(8, 8, 3), score="max")])
def test_wrong_use_is_a_clear_error(make: object) -> None:
    with pytest.raises(EspalierError):
        make()  # type: ignore[operator]
