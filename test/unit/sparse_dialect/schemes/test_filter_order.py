"""Filter kernel reorder: groups of equal length, similar filters adjacent, large layers too."""

import numpy as np
from espalier.sparse_dialect.schemes import filter_order


def ids_of(filters: list[dict[int, int]], channels: int) -> np.ndarray:
    """Pattern ids [F, C] from {channel: pattern} of each filter."""
    ids = np.full((len(filters), channels), -1, np.int16)
    for f, kernels in enumerate(filters):
        for c, pattern in kernels.items():
            ids[f, c] = pattern
    return ids


def test_six_filters_fall_into_the_papers_groups() -> None:
    """PatDNN's figure: 6 filters x 6 kernels, groups {0, 3} of length 2, {1, 4} of 3, {2, 5} of 4."""
    ids = ids_of([{0: 0, 3: 1}, {1: 0, 2: 1, 5: 0}, {0: 1, 1: 1, 3: 0, 4: 0},
                  {0: 0, 5: 1}, {1: 0, 3: 1, 5: 1}, {0: 1, 2: 0, 3: 0, 5: 1}], 6)
    assert filter_order(ids).tolist() == [0, 3, 1, 4, 2, 5]


def test_similar_filters_become_neighbours() -> None:
    a, b = {0: 0, 1: 1, 2: 0}, {3: 1, 4: 1, 5: 1}
    ids = ids_of([a, b, a, b, a], 6)
    assert filter_order(ids).tolist() == [0, 2, 4, 1, 3]
    assert filter_order(ids, by_similarity=False).tolist() == [0, 1, 2, 3, 4]


def test_the_same_channel_with_another_pattern_is_not_similar() -> None:
    ids = ids_of([{0: 0, 1: 0}, {0: 1, 1: 1}, {0: 0, 1: 0}], 2)
    assert filter_order(ids).tolist() == [0, 2, 1]


def test_empty_filters_come_first_and_every_filter_appears_once() -> None:
    ids = np.random.default_rng(0).integers(-8, 4, (40, 30)).astype(np.int16)
    ids[17] = -1
    order = filter_order(ids)
    lengths = (ids[order] >= 0).sum(axis=1)
    assert order[0] == 17
    assert sorted(order.tolist()) == list(range(40))
    assert (np.diff(lengths) >= 0).all()


def test_large_layers() -> None:
    """The worst case: all filters in one group (PCONV's balanced connectivity)."""
    ids = np.random.default_rng(0).integers(0, 8, (512, 512)).astype(np.int16)
    assert sorted(filter_order(ids).tolist()) == list(range(512))
