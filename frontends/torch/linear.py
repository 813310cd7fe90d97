"""``aten.linear`` as one matrix product, whatever its input's shape and strides.

    linear(x [N, T, K], w [M, K], b)   ->   view(addmm(b, reshape(x, [N * T, K]), t(w)), [N, T, M])

PyTorch's own decomposition copies the weight for each of N products where ``x`` is strided, as behind a GRU
with ``batch_first``; no pass would take that for a linear layer.
"""

from __future__ import annotations

from math import prod

import torch


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """A decomposition of ``torch.ops.aten.linear.default``."""
    rows = x if x.dim() == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])
    product = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    return product if x.dim() == 2 else product.view(*x.shape[:-1], weight.shape[0])
