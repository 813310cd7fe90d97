"""A model for several batch sizes: example inputs, and programs, of each.

    module, x [2, 3, 8, 8]                          batch 1: module, x[:1]
    program exported with torch.export.Dim    ->    batch 8: program with 8 for the symbol, and its inputs

Of a module, the batch is the first dimension of every tensor that has as many entries there as the first
tensor. A program says by itself which sizes go with the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from ...sparse_dialect.errors import EspalierError
from ..mlir_file import first_line
from ..quiet import quiet
from .recurrent import keep_whole
from .signature import call_of


def of_batch(model: Any, example_inputs: Any, batch: int) -> tuple[Any, Any]:
    """``model`` (a module or an exported program) and example inputs for ``batch`` samples; ``EspalierError``
    where it has no batch, or none of that size."""
    if isinstance(model, ExportedProgram):
        return _program(model, example_inputs, batch)
    args, kwargs = call_of(example_inputs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if not tensors or not tensors[0].ndim:
        raise EspalierError("a batch needs an example input whose first dimension is the batch")
    before = tensors[0].shape[0]

    def sized(x: torch.Tensor) -> torch.Tensor:
        return _resized(x, 0, batch) if x.ndim and x.shape[0] == before else x

    args, kwargs = tree_map_only(torch.Tensor, sized, (args, kwargs))
    return model, kwargs or args


def _resized(x: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """``x`` with ``size`` entries along ``dim``: its own, and then these again, turned along the last
    dimension so that samples differ."""
    x, turns = x.detach(), range(-(-size // x.shape[dim]))
    parts = [torch.roll(x, turn, -1) if x.ndim > 1 else x for turn in turns]
    return torch.cat(parts, dim).narrow(dim, 0, size).clone()


def _program(program: ExportedProgram, example_inputs: Any, batch: int) -> tuple[ExportedProgram, Any]:
    """``program`` exported again for ``batch``."""
    own: Any = program.example_inputs or ((), {})
    args, kwargs = call_of(example_inputs) if tree_leaves(example_inputs) else own
    leaves, structure = tree_flatten((tuple(args), dict(kwargs)))
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    names = program.graph_signature.user_inputs
    known = [values.get(name) if isinstance(name, str) else None for name in names]
    if not leaves or len(leaves) != len(known):
        raise EspalierError("a batch needs the program's example inputs; save it with them, or give them")
    symbol = _symbol(known)
    _check_range(program, symbol, batch)
    sized = [_like(leaf, value, symbol, batch) for leaf, value in zip(leaves, known, strict=True)]
    args, kwargs = tree_unflatten(sized, structure)
    with quiet(), torch.no_grad(), keep_whole():
        try:
            made = torch.export.export(program.module(check_guards=False), args, kwargs, strict=False)
        except Exception as error:  # torch.export raises whatever the program's own checks raise
            reason = first_line(error)
            raise EspalierError(f"cannot export the program for batch {batch}: {reason}") from error
    return made, kwargs or args


def _symbol(values: Sequence[Any]) -> Any:
    """The one symbol that the inputs' sizes depend on."""
    sizes: list[Any] = [size for value in values if isinstance(value, torch.Tensor) for size in value.shape]
    symbols = {symbol for size in sizes if not isinstance(size, int)
               for symbol in size.node.expr.free_symbols}
    if len(symbols) != 1:
        found = ", ".join(sorted(map(str, symbols))) or "fixed sizes alone"
        raise EspalierError("a batch needs a program with one dynamic dimension (torch.export.Dim), found "
                            f"{found}")
    return symbols.pop()


def _like(leaf: Any, value: Any, symbol: Any, batch: int) -> Any:
    """An example input with ``batch`` in the place of ``symbol``."""
    if not isinstance(leaf, torch.Tensor) or not isinstance(value, torch.Tensor):
        return leaf
    sizes: list[Any] = list(value.shape)
    for dim, size in enumerate(sizes):
        if not isinstance(size, int):
            leaf = _resized(leaf, dim, int(size.node.expr.subs({symbol: batch})))
    return leaf


def _check_range(program: ExportedProgram, symbol: Any, batch: int) -> None:
    """Raises ``EspalierError`` for a batch that the program was not exported for."""
    span = program.range_constraints.get(symbol)
    if span is not None and not span.lower <= batch <= span.upper:
        raise EspalierError(f"the program takes a batch of {span.lower} to {span.upper}, found {batch}")


__all__ = ["of_batch"]
