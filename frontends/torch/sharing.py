"""Outputs of a graph that lie in the memory of its inputs, or of each other, as views do.

    def forward(x):  return x[1:], x * 2      compiled code:  copies      here:  x[1:] is x's own memory

Compiled code writes every output to memory of its own. Who writes to such a view afterwards, as the code
behind a graph break does, expects to write to the other too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ...errors import EspalierError
from ..quiet import quiet


@dataclass(frozen=True)
class Place:
    """An output in memory that is shared: that of argument ``argument``, or of ``elements`` elements that are
    output ``first``'s too. It begins ``offset`` elements behind the argument, or in that memory. ``same``: it
    is that argument or output itself."""

    argument: int | None
    first: int
    elements: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    same: bool


def shares_memory(graph: torch.fx.GraphModule) -> bool:
    """Whether an output of a graph that dynamo captured lies in memory of an input or of another output."""
    outputs = graph.graph.output_node()
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    read = {_storage(node.meta.get("example_value")) for node in inputs} - {None}
    written = [of for node in outputs.all_input_nodes if (of := _storage(node.meta.get("example_value")))]
    leaves = [node for node in torch.utils._pytree.tree_leaves(outputs.args)
              if isinstance(node, torch.fx.Node)]
    return len({*read, *written}) < len(read) + len(written) or len(set(leaves)) < len(leaves)


def places_of(graph: torch.fx.GraphModule, arguments: Sequence[Any]) -> list[Place | None]:
    """Where each output of ``graph`` lies for arguments of these sizes and strides, None for memory of its
    own. Nothing is computed. ``EspalierError`` where it cannot be told."""
    try:
        with quiet(), FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
            fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in arguments]
            outputs = list(graph(*fakes))
    except Exception as error:  # data tell the shapes, or PyTorch's own bounds
        raise EspalierError("its outputs share memory in a way that only a run tells") from error
    tensors = [(at, fake) for at, fake in enumerate(fakes) if isinstance(fake, torch.Tensor)]
    owners = {_storage(fake): at for at, fake in tensors}
    if len(owners) < len(tensors):
        raise EspalierError("inputs and outputs share memory")
    count = Counter(map(_storage, outputs))
    firsts: dict[int, int] = {}
    places: list[Place | None] = []
    for number, output in enumerate(outputs):
        storage = _storage(output)
        owner = owners.get(storage)
        if storage is None or (owner is None and count[storage] == 1):
            places.append(None)
            continue
        first = firsts.setdefault(storage, number)
        base = outputs[first] if owner is None else fakes[owner]
        if output.dtype != base.dtype:
            raise EspalierError("an output is another's memory, taken for another dtype")
        offset = output.storage_offset() - (0 if owner is None else base.storage_offset())
        elements = output.untyped_storage().nbytes() // output.dtype.itemsize
        same = output is base and (owner is not None or number != first)
        places.append(Place(owner, first, elements, offset, tuple(output.shape), output.stride(), same))
    return places


def placed(values: Sequence[Any], places: Sequence[Place | None], arguments: Sequence[Any]) -> list[Any]:
    """The outputs ``values`` of a run, each where it belongs."""
    memories: dict[int, torch.Tensor] = {}
    results: list[Any] = []
    for value, place in zip(values, places, strict=True):
        if place is None:
            results.append(value)
        elif place.argument is not None:
            base = arguments[place.argument]
            results.append(base if place.same else
                           base.as_strided(place.size, place.stride, base.storage_offset() + place.offset))
        elif place.same:
            results.append(results[place.first])
        else:
            memory = memories.setdefault(place.first, value.new_empty(place.elements))
            view = memory.as_strided(place.size, place.stride, place.offset)
            once = tuple(slice(1) if step == 0 else slice(None) for step in place.stride)  # expanded
            view[once].copy_(value[once])
            results.append(view)
    return results


def _storage(value: Any) -> int | None:
    return value.untyped_storage()._cdata if isinstance(value, torch.Tensor) else None


__all__ = ["Place", "placed", "places_of", "shares_memory"]
