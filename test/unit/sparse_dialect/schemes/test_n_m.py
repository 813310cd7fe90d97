"""Scheme ``n_m`` (2:4 and its like): projection, detection, and that it runs: sparse where that pays."""

from __future__ import annotations

from itertools import combinations

import espalier
import numpy as np
import pytest
import torch
from espalier.frontends.pruning.project import prune_module
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme, explain_scheme
from espalier.sparse_dialect.schemes import NM, Bcr, Connectivity, Unstructured
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples
from torch import nn

SHAPES = st.sampled_from([(6, 16), (5, 18), (4, 8, 3, 3), (3, 10, 1, 1), (4, 8, 3), (2, 4, 2, 2, 2)])


def random_weight(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal weights, no exact zeros."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=examples(60), deadline=None)
@given(SHAPES, st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 4), (2, 8)]), st.integers(0, 99))
def test_projection_keeps_the_largest_of_every_group(shape: tuple[int, ...], ratio: tuple[int, int],
                                                     seed: int) -> None:
    n, m = ratio
    weight = random_weight(*shape, seed=seed)
    pruned = NM.project(weight, n=n, m=m)
    assert np.array_equal(pruned[pruned != 0], weight[pruned != 0])
    for first in range(0, shape[1], m):
        group, kept = weight[:, first : first + m], pruned[:, first : first + m]
        assert (np.count_nonzero(kept, axis=1) == min(n, group.shape[1])).all()
        assert (np.abs(np.where(kept != 0, group, np.inf)).min(axis=1)
                >= np.abs(np.where(kept == 0, group, 0)).max(axis=1)).all()


def test_projection_is_the_nearest() -> None:
    weight = random_weight(1, 4, seed=3)
    distances = [float(np.square(np.delete(weight, kept)).sum()) for kept in combinations(range(4), 2)]
    assert np.square(weight - NM.project(weight)).sum() == pytest.approx(min(distances))


@pytest.mark.parametrize(("shape", "n", "m"), [
    ((32, 64), 2, 4), ((32, 64), 1, 4), ((32, 64), 1, 2), ((32, 64), 4, 16), ((32, 66), 2, 4),
    ((16, 32, 3, 3), 2, 4), ((16, 32, 1, 1), 1, 4), ((16, 32, 3), 3, 8), ((64, 64), 6, 8)])
def test_what_was_projected_is_detected(shape: tuple[int, ...], n: int, m: int) -> None:
    weight = NM.project(random_weight(*shape), n=n, m=m)
    assert NM.detect(weight) == NM(n, m)
    assert NM.why_not(weight) == ""
    pointwise = weight.ndim > 2 and weight[0, 0].size == 1  # are whole kernels, and run faster as such
    assert detect_scheme(weight) == (Connectivity((1, 1)) if pointwise else NM(n, m))


def test_accidental_zeros_do_not_hide_the_ratio() -> None:
    weight = NM.project(random_weight(128, 64))
    weight[0] = 0  # as a batch norm may scale a filter
    assert NM.detect(weight) == NM(2, 4)
    weight[:8] = 0
    assert NM.detect(weight) is None


def test_pytorchs_own_two_of_four_is_detected() -> None:
    """As torchao's sparsifier writes it: two zeros in every block of 1 x 4 of a linear layer."""
    from torch.ao.pruning import WeightNormSparsifier

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32))
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(module, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    sparsifier.squash_mask()
    assert detect_scheme(module[0].weight.detach().numpy()) == NM(2, 4)


def test_other_masks_are_not_claimed_and_say_why() -> None:
    assert NM.why_not(random_weight(4, 8)) == "no weight is zero"
    assert NM.why_not(np.zeros((4, 8), np.float32)) == "no weight is left"
    assert NM.detect(np.eye(2, 4, dtype=np.float32)) is None  # so few groups keep as many by chance
    loose = Unstructured.project(random_weight(64, 64), rate=3)
    assert NM.why_not(loose) == "no groups of channels keep equally many weights"
    assert "not n_m: no groups of channels keep equally many weights" in explain_scheme(loose).reason
    # blocks of 16 columns keep equally many as well, and share them: the faster scheme is taken
    assert isinstance(detect_scheme(Bcr.project(random_weight(64, 64), rows=4, columns=16, rate=4)), Bcr)


@pytest.mark.parametrize("make", [lambda: NM(0, 4), lambda: NM(4, 4), lambda: NM(5, 4),
                                  lambda: NM.project(random_weight(4, 8), n=4, m=2)])
def test_impossible_ratios_are_a_clear_error(make: object) -> None:
    with pytest.raises(EspalierError, match="expected 1 <= n < m"):
        make()  # type: ignore[operator]


class Network(nn.Module):
    """A first layer, which is spared, one to prune, and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


@pytest.mark.slow
@pytest.mark.parametrize("prune", ["n_m:n=2,m=4", "n_m:n=1,m=4"])
def test_it_runs_sparse_where_that_pays_and_says_so(prune: str) -> None:
    """Whether 2:4 pays depends on the core; nothing pays in a matrix that stays in its caches."""
    torch.manual_seed(0)
    module, x = prune_module(Network().eval(), prune), torch.randn(1, 3, 8, 8)
    compiled = espalier.compile(module, (x,))
    with torch.no_grad():
        expected = module(x)
    assert torch.allclose(torch.as_tensor(compiled(x)), expected, atol=1e-4)
    layers = {layer.name: layer for layer in compiled.layers}
    for name in ("second", "head"):
        record = next(layer for known, layer in layers.items() if name in known)
        assert record.scheme == "n_m"
        assert record.reason.startswith(f"{record.kernel}: ")
        assert record.kernel == "sparse" or prune == "n_m:n=2,m=4" or name == "head"
