"""What is tried: PyTorch's OpInfo samples, and the same with special numbers in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...errors import unknown

# Operations that draw numbers, or give memory as it is.
RANDOM = re.compile(r"rand|dropout|empty|bernoulli|multinomial|normal$|exponential|geometric|cauchy|poisson|"
                    r"uniform|rrelu|feature_alpha")
SPECIAL = (torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1.0, -1.0, 1e-40, -3e38, 0.5, 2.5, -7.25)


@dataclass(frozen=True)
class Sample:
    """A call of ``operation`` on ``values``, the leaves of its arguments; those that are tensors are the
    compiled program's inputs."""

    label: str
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]


class _Call(nn.Module):
    """``operation`` on arguments of which the tensors come as inputs."""

    def __init__(self, operation: Any, leaves: list[Any], structure: Any) -> None:
        super().__init__()
        self.operation, self.structure = operation, structure
        self.leaves = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self.is_tensor = [isinstance(leaf, torch.Tensor) for leaf in leaves]

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Puts the inputs back to their places and calls the operation."""
        rest = iter(inputs)
        leaves = [next(rest) if tensor else leaf
                  for tensor, leaf in zip(self.is_tensor, self.leaves, strict=True)]
        args, kwargs = tree_unflatten(leaves, self.structure)
        return self.operation(*args, **kwargs)


def names() -> list[str]:
    """The operations that are tried, in PyTorch's order; variants of one name apart by a dot."""
    from torch.testing._internal.common_methods_invocations import op_db  # takes seconds

    found = [f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name for op in op_db]
    return [name for name in found if not RANDOM.search(name)]


def samples(name: str, dtype: torch.dtype, count: int) -> Iterator[Sample]:
    """Up to ``count`` samples of ``name``, spread over all that PyTorch has, and one with special numbers."""
    from torch.testing._internal.common_methods_invocations import op_db

    op = next((op for op in op_db if name in (op.name, f"{op.name}.{op.variant_test_name}")), None)
    if op is None:
        raise unknown("operation", name, names())
    if dtype not in op.supported_dtypes("cpu"):
        return
    torch.manual_seed(0)
    known = list(itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=False), 200))
    step = max(1, len(known) // max(count, 1))
    chosen = known[::step][:count]
    for number, sample in enumerate(chosen):
        yield _sample(f"{name} {_short(dtype)} {number * step}", op.op, sample, special=False)
    if dtype.is_floating_point and chosen:
        yield _sample(f"{name} {_short(dtype)} special", op.op, chosen[0], special=True)


def _sample(label: str, operation: Any, sample: Any, special: bool) -> Sample:
    leaves, structure = tree_flatten(((sample.input, *sample.args), dict(sample.kwargs)))
    tensors = [leaf.detach().clone() for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if special:
        tensors = [_with_special(tensor, shift) for shift, tensor in enumerate(tensors)]
    return Sample(label, _Call(operation, leaves, structure), tuple(tensors))


def _with_special(tensor: torch.Tensor, shift: int) -> torch.Tensor:
    """``tensor`` with every other number a special one."""
    if not tensor.dtype.is_floating_point:
        return tensor
    flat = tensor.reshape(-1).clone()
    for at in range(0, flat.numel(), 2):
        flat[at] = SPECIAL[(at // 2 + 5 * shift) % len(SPECIAL)]
    return flat.reshape(tensor.shape)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
