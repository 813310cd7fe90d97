"""An index that a caller gives and that no element has: one error, and no memory of others' is touched."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import espalier
import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from torch import nn

X = torch.arange(10.0).reshape(2, 5)


class Indexed(nn.Module):
    """What torch-mlir asserts nothing of, an index each: the second counts from the end too."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(5, 2)

    def forward(self, selected: torch.Tensor, indexed: torch.Tensor, taken: torch.Tensor, bag: torch.Tensor,
                put: torch.Tensor, rounded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (X.index_select(1, selected), X[:, indexed], torch.take(X, taken), self.bag(bag[None]),
                torch.zeros(5).index_put((put,), X[0, :2]), X[0, rounded.long()])


GOOD = (torch.tensor([4, 0]), torch.tensor([-5, 4]), torch.tensor([9, -10]), torch.tensor([0, 4]),
        torch.tensor([-1, 2]), torch.tensor([3.9, 0.2]))


@cache
def indexed() -> tuple[espalier.CompiledModel, list[np.ndarray]]:
    torch.manual_seed(0)
    model = Indexed().eval()
    with torch.no_grad():
        expected = [one.numpy() for one in model(*GOOD)]
    return espalier.compile(model, GOOD), expected


def test_indices_in_range() -> None:
    model, expected = indexed()
    for found, wanted in zip(model.run([one.numpy() for one in GOOD]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(("number", "wrong"), [
    (0, 5), (0, -1), (0, 1 << 40), (1, 5), (1, -6), (2, 10), (2, -11), (3, 5), (3, -1), (3, 1 << 40), (4, 5),
    (4, -6), (5, 5)])
def test_indices_out_of_range(number: int, wrong: int) -> None:
    model, expected = indexed()
    given = [one.numpy().copy() for one in GOOD]
    given[number][1] = wrong
    with pytest.raises(EspalierError, match=r"the model stopped: (an index .*is out of range|index must be)"):
        model.run(given)
    assert np.array_equal(model.run([one.numpy() for one in GOOD])[4], expected[4])


@pytest.mark.parametrize("function", [
    lambda x: x.gather(1, x.argsort(1)),
    lambda x: x[:, torch.tensor([0, 3, 2])],
    lambda x: torch.roll(x, 2, 1) + x.flip(1),
], ids=["sorted", "constant", "rolled"])
def test_indices_of_the_program_itself(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    own = espalier.compile(Net().eval(), (X,)).file.manifest["messages"]
    assert not [text for text in own if text.startswith("an index")]
