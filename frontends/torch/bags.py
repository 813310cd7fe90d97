"""Embedding bags: sums, means or maxima of rows of a table.

    %o = aten.arange.start_step(0, 30, 5)
    %b = aten.embedding_bag(%table, %indices: [30], %o, mode = 1)   # nn.EmbeddingBag of 6 x 5 indices
    -> %r = aten.embedding(%table, aten.view(%indices, [6, 5]))
       %b = aten.mean(%r, [1])

Bags of one size (``regular_bags``) are rows side by side; others (``embedding_bag``) add each row to its
bag's sum, wherever data put the bags' limits.
"""

from __future__ import annotations

import operator
from math import inf
from typing import Any

import torch

from .retype import call

aten = torch.ops.aten
BAGS = (aten.embedding_bag.padding_idx, aten.embedding_bag.default)
SUM, MEAN, MAXIMUM = range(3)
JOINED: dict[Any, Any] = {SUM: aten.sum.dim_IntList, MEAN: aten.mean.dim, MAXIMUM: aten.amax.default}


def regular_bags(program: torch.export.ExportedProgram) -> None:
    """Rewrites bags that all hold equally many indices, in place; none may be left out (``padding_idx``)."""
    graph = program.graph
    for node in [node for node in graph.nodes if node.target in BAGS]:
        given: list[Any] = list(node.args)
        given += (False, SUM, False, None, False, None)[len(given) - 3:]
        table, indices, offsets, _, mode, _, weights, last, padding = given
        size = _size(indices, offsets)
        readers = [user for user in node.users if user.target is operator.getitem]
        if node.kwargs or size is None or last or padding is not None or any(
                reader.args[1] for reader in readers if reader.users):
            continue
        shape = [indices.meta["val"].shape[0] // size, size]
        with graph.inserting_before(node):
            rows = call(graph, aten.embedding.default, table, call(graph, aten.view.default, indices, shape))
            if weights is not None:
                share = call(graph, aten.view.default, weights, [*shape, 1])
                rows = call(graph, aten.mul.Tensor, rows, share)
            result = call(graph, JOINED[mode], rows, [1])
        for reader in readers:
            reader.replace_all_uses_with(result)
            graph.erase_node(reader)
        graph.erase_node(node)


def _size(indices: torch.fx.Node, offsets: torch.fx.Node) -> int | None:
    """The size of all bags; None where they differ, or only data tell."""
    shape = indices.meta["val"].shape
    if offsets.target is not aten.arange.start_step or len(shape) != 1:
        return None
    numbers: tuple[Any, ...] = (*offsets.args, 1)
    begin, end, size = numbers[:3]
    regular = begin == 0 and end == shape[0] and isinstance(size, int) and size > 0 and shape[0] % size == 0
    return int(size) if regular and shape[0] else None


def embedding_bag(weight: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor,
                  scale_grad_by_freq: bool = False, mode: int = SUM, sparse: bool = False,
                  per_sample_weights: torch.Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int = -1) -> Any:
    """``aten._embedding_bag_forward_only``. Only the first of the four results is meant to be read."""
    places = torch.arange(indices.shape[0], dtype=offsets.dtype)
    begins = offsets[:-1] if include_last_offset else offsets
    bags = begins.shape[0]
    bag = ((begins[None, :] <= places[:, None]).sum(1) - 1).clamp(min=0)
    member = indices != padding_idx  # -1, where all count, is no index
    # PyTorch's sums end at the last offset; its maxima, and what means are divided by, at the last index
    summed = member & (places < offsets[-1]) if include_last_offset else member
    rows = weight.index_select(0, indices)
    nothing = torch.zeros((), dtype=weight.dtype)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    count = torch.zeros(bags, dtype=weight.dtype).index_add(0, bag, member.to(weight.dtype))[:, None]
    if mode == MAXIMUM:
        lowest = torch.full((), -inf, dtype=weight.dtype)
        inside = (torch.arange(bags)[:, None] == bag[None, :]) & member[None, :]
        most = torch.where(inside[:, :, None], rows, lowest).amax(1)
        result = torch.where(count > 0, most, nothing)
    else:
        kept = torch.where(summed[:, None], rows, nothing)
        result = torch.zeros(bags, weight.shape[1], dtype=weight.dtype).index_add(0, bag, kept)
        result = result / count.clamp(min=1) if mode == MEAN else result
    none = indices.new_empty(0)
    return result, none, none, none


__all__ = ["embedding_bag", "regular_bags"]
