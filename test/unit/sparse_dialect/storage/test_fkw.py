"""FKW: PatDNN's own arrays where there is one block; read as kernels read it, the dense weight comes back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from espalier.sparse_dialect.errors import EspalierError
from espalier.sparse_dialect.schemes import Connectivity, Dense, Pattern, Scheme, Unstructured, filter_order
from espalier.sparse_dialect.storage import Fkw
from espalier.sparse_dialect.storage.chunks import thread_chunks
from espalier.sparse_dialect.storage.fkw import Terms
from hypothesis import given, settings
from hypothesis import strategies as st
from support.patdnn import CORNERS, patdnn_example
from support.tiers import examples

Arrays = dict[str, np.ndarray]


def unpack_blocked(
    arrays: Arrays, classes: Sequence[Terms], shape: tuple[int, ...], group: int, block: int, groups: int = 1
) -> np.ndarray:
    """The dense weight, read as kernels read it: row by row, class by class; nothing is stored twice."""
    filters, channels = shape[0], shape[1] * groups
    dense = np.full((filters, shape[1], int(np.prod(shape[2:]))), np.nan, np.float32)
    stride, index = arrays["stride"].view(np.uint16).astype(int), arrays["index"].view(np.uint16).astype(int)
    rows, position = filters // group, 0
    assert len(arrays["offset"]) == channels // block * rows + 1
    for row in range(channels // block * rows):
        members = arrays["reorder"][row * group : (row + 1) * group]
        first = row // rows * block
        if "start" in arrays:
            assert arrays["start"][row] == position
        assert stride[row, 0] == 0
        for kind, terms in enumerate(classes):
            for k in range(*(arrays["offset"][row] + stride[row, kind : kind + 2])):
                for at, (f, place) in enumerate(terms):
                    channel = first + index[k] - members[f] // (filters // groups) * shape[1]
                    assert 0 <= channel < shape[1], "a filter reads channels of its own group"
                    assert np.isnan(dense[members[f], channel, place]), "a weight is stored once"
                    dense[members[f], channel, place] = arrays["weight"][position + at]
                position += len(terms)
        assert arrays["offset"][row] + stride[row, -1] == arrays["offset"][row + 1]
    assert position == len(arrays["weight"])
    return np.nan_to_num(dense).reshape(shape)


def random_weight(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


def masked(scheme: str, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, Scheme]:
    """A weight of ``shape`` whose mask follows ``scheme``; filters differ much in length."""
    random = np.random.default_rng(seed)
    weight = random_weight(shape, seed)
    kept = random.random(shape[:2]) < random.random((shape[0], 1))
    if scheme == "connectivity":
        return weight * kept[..., None, None], Connectivity(shape[2:])
    if scheme == "unstructured":
        return weight * (random.random(shape) < 0.3), Unstructured()
    library = np.zeros((4, 9), bool)
    for at, places in enumerate(CORNERS):
        library[at, list(places)] = True
    patterns = library[random.integers(0, 4, shape[:2])] & kept[..., None]
    return weight * patterns.reshape(shape), Pattern((3, 3), CORNERS)


def pack(
    weight: np.ndarray, scheme: Scheme, group: int, block: int, order: np.ndarray | None = None,
    groups: int = 1
) -> tuple[Arrays, tuple[Terms, ...]]:
    storage = Fkw(group, block, groups)
    packed = storage.pack(weight, scheme, order)
    np.testing.assert_array_equal(packed.unpack(), weight)
    return dict(packed.arrays), storage.classes(scheme, weight.shape[2:])


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from(["connectivity", "pattern", "unstructured"]),
    st.sampled_from([1, 2, 4, 6]),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(0, 1000),
    st.booleans(),
)
def test_dense_weight_comes_back(scheme: str, blocks: int, group: int, seed: int, reorder: bool) -> None:
    group = group if scheme != "pattern" else 1
    kernel = (3, 3) if scheme == "pattern" or seed % 2 else (1, 1)
    shape = (12, 12, *kernel)
    weight, value = masked(scheme, shape, seed)
    order = np.random.default_rng(seed).permutation(12) if reorder else np.arange(12)
    arrays, classes = pack(weight, value, group, 12 // blocks, order)
    np.testing.assert_array_equal(unpack_blocked(arrays, classes, shape, group, 12 // blocks), weight)


def patdnn(weight: np.ndarray, scheme: Pattern | Connectivity, order: np.ndarray) -> Arrays:
    """The five arrays of PatDNN's FKW (Niu et al., ASPLOS 2020), by plain loops."""
    ids, library = scheme.assign(weight), scheme.patterns(weight.shape[2:])
    offset, index, stride, values = [0], [], [], []
    for f in order:
        kernels = sorted((int(ids[f, c]), c) for c in range(weight.shape[1]) if ids[f, c] >= 0)
        stride.append([sum(p < pattern for p, _ in kernels) for pattern in range(len(library) + 1)])
        index += [c for _, c in kernels]
        values += [weight[f, c].flat[tap] for p, c in kernels for tap in library[p]]
        offset.append(len(index))
    return {"offset": np.array(offset, np.int32), "reorder": np.array(order, np.int32),
            "stride": np.array(stride, np.int16), "index": np.array(index, np.int16),
            "weight": np.array(values, np.float32)}


@pytest.mark.parametrize("scheme", ["connectivity", "pattern"])
@pytest.mark.parametrize("seed", range(3))
def test_one_block_is_patdnns_fkw_to_the_byte(scheme: str, seed: int) -> None:
    weight, value = masked(scheme, (16, 10, 3, 3), seed)
    assert isinstance(value, Pattern | Connectivity)
    order = filter_order(value.assign(weight))
    arrays, expected = pack(weight, value, 1, 10, order)[0], patdnn(weight, value, order)
    assert {name: (array.dtype, array.tobytes()) for name, array in arrays.items()} == {
        name: (array.dtype, array.tobytes()) for name, array in expected.items()}


def test_the_papers_example() -> None:
    packed = Fkw().pack(patdnn_example(), Pattern((3, 3), CORNERS[:2]), np.array([0, 1, 3, 2])).arrays
    assert list(packed) == ["offset", "reorder", "stride", "index", "weight"]
    assert packed["offset"].tolist() == [0, 2, 4, 6, 9]
    assert packed["reorder"].tolist() == [0, 1, 3, 2]
    assert packed["index"].tolist() == [3, 1, 2, 0, 1, 3, 1, 2, 3]
    assert packed["stride"].tolist() == [[0, 1, 2], [0, 1, 2], [0, 0, 2], [0, 0, 3]]
    assert packed["weight"][:4].tolist() == pytest.approx([3.1, 3.2, 3.3, 3.4])  # filter 0, channel 3
    assert [array.dtype.name for array in packed.values()] == ["int32", "int32", "int16", "int16", "float32"]


@pytest.mark.parametrize("convolution_groups", [2, 4])
def test_grouped_convolutions_use_absolute_channels(convolution_groups: int) -> None:
    shape = (8, 8 // convolution_groups, 3, 3)
    weight = random_weight(shape, 0)
    arrays, classes = pack(weight, Dense(), 1, 8, groups=convolution_groups)
    assert arrays["index"].max() == 7
    np.testing.assert_array_equal(unpack_blocked(arrays, classes, shape, 1, 8, convolution_groups), weight)


@pytest.mark.parametrize("block", [8, 4])
def test_grouped_and_sparse(block: int) -> None:
    weight, scheme = masked("pattern", (8, 4, 3, 3), 7)
    arrays, classes = pack(weight, scheme, 1, block, groups=2)
    np.testing.assert_array_equal(unpack_blocked(arrays, classes, weight.shape, 1, block, 2), weight)


def test_shared_channels_are_stored_once_for_all_filters_of_a_group() -> None:
    """Filters 0 and 1 both keep channel 2: one stored kernel with two weights (LRE, filter level)."""
    weight = np.zeros((2, 4, 1, 1), np.float32)
    weight[0, [1, 2]], weight[1, [2, 3]] = 1, 2
    arrays, classes = pack(weight, Connectivity((1, 1)), 2, 4)
    assert classes == (((0, 0),), ((1, 0),), ((0, 0), (1, 0)))
    np.testing.assert_array_equal(arrays["index"], [1, 3, 2])
    np.testing.assert_array_equal(arrays["weight"], [1, 2, 1, 2])
    np.testing.assert_array_equal(arrays["stride"], [[0, 1, 2, 3]])
    np.testing.assert_array_equal(arrays["start"], [0])


def test_start_is_there_only_where_classes_differ_in_length() -> None:
    weight, scheme = masked("pattern", (4, 4, 3, 3), 0)
    assert "start" not in pack(weight, scheme, 1, 4)[0]
    weight, scheme = masked("connectivity", (4, 4, 1, 1), 0)
    assert "start" not in pack(weight, scheme, 1, 4)[0]
    assert "start" in pack(weight, scheme, 2, 4)[0]


@pytest.mark.parametrize("filters", [8, 12, 24, 64])
def test_a_chunk_holds_the_same_filters_in_every_block(filters: int) -> None:
    """A thread owns chunks and keeps their partial sums from block to block."""
    weight, scheme = masked("connectivity", (filters, 16, 1, 1), 3)
    arrays, _ = pack(weight, scheme, 1, 4)
    chunks = thread_chunks(filters)
    members = np.sort(arrays["reorder"].reshape(4, chunks, -1), axis=2)
    assert (members == members[:1]).all()
    assert sorted(members[0].ravel()) == list(range(filters))


def test_chunks_weigh_about_the_same() -> None:
    weight, scheme = masked("connectivity", (64, 64, 1, 1), 5)
    arrays, _ = pack(weight, scheme, 1, 32)
    lengths = np.diff(arrays["offset"]).reshape(2, thread_chunks(64), -1).sum(axis=(0, 2))
    assert lengths.max() < 1.3 * lengths.mean()


def test_rows_of_one_length_are_neighbours_inside_a_chunk() -> None:
    weight, scheme = masked("connectivity", (64, 64, 1, 1), 5)
    arrays, _ = pack(weight, scheme, 1, 32)
    lengths = np.diff(arrays["offset"]).reshape(2 * thread_chunks(64), -1)
    np.testing.assert_array_equal(lengths, np.sort(lengths, axis=1))


@pytest.mark.parametrize(("groups", "chunks"), [(1, 1), (7, 1), (8, 4), (9, 3), (11, 1), (12, 4), (64, 4)])
def test_thread_chunks_are_equal_parts(groups: int, chunks: int) -> None:
    assert thread_chunks(groups) == chunks


def test_index_and_stride_count_beyond_32767() -> None:
    """16-bit arrays hold unsigned numbers: a filter of 40 000 kernels."""
    weight = np.ones((1, 40000, 1, 1), np.float32)
    arrays, classes = pack(weight, Connectivity((1, 1)), 1, 40000)
    assert arrays["index"].view(np.uint16).max() == 39999
    assert arrays["stride"].view(np.uint16)[0, 1] == 40000
    np.testing.assert_array_equal(unpack_blocked(arrays, classes, weight.shape, 1, 40000), weight)


@pytest.mark.parametrize(("storage", "scheme", "order", "message"), [
    (Fkw(), Pattern((3, 3), CORNERS[:1]), None, "no pattern of the library covers"),
    (Fkw(), Pattern((1, 3), ((0,),)), None, "expected kernels of"),
    (Fkw(), Pattern((3, 3), CORNERS), [0, 1, 1, 2], "expected a permutation of 4 filters"),
    (Fkw(0), Connectivity((3, 3)), None, "expected a filters_per_group of 1 or more, found 0"),
    (Fkw(2), Pattern((3, 3), CORNERS), None,
     "expected one pattern or single weights, for filters share rows, found 4 patterns"),
    (Fkw(2, mixed=True), Connectivity((3, 3)), None, "expected rows of one filter and patterns of equally"),
    (Fkw(1, 3), Pattern((3, 3), CORNERS), None, "expected a channel_block that divides 4 channels, found 3"),
    (Fkw(groups=3), Pattern((3, 3), CORNERS), None, "expected groups that divide 4 filters")])
def test_what_fkw_cannot_keep_is_a_clear_error(storage: Fkw, scheme: Scheme, order: list[int] | None,
                                               message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        storage.pack(patdnn_example(), scheme, None if order is None else np.array(order))


def test_more_channels_than_16_bits_count_are_refused() -> None:
    with pytest.raises(EspalierError, match="at most 65535 input channels, found 65536"):
        Fkw().pack(np.ones((1, 65536, 1, 1), np.float32), Connectivity((1, 1)))
