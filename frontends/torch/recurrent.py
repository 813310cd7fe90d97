"""GRU and LSTM modules stay whole on their way to linalg: torch-mlir alone would unroll every time step.

    y, h = nn.GRU(...)(x)          torch.nn.functional.linear(x, weight_ih, bias_ih)
                              ->   espalier::gru(gates, initial, weight_hh, bias_hh, reverse)
                                   (the same for every layer and direction, and a concatenation)

The custom operators ``espalier::gru`` and ``espalier::lstm`` stand for one layer in one direction each. They
come in when a module is exported (``keep_whole``, which leaves the number of time steps free) or when an
exported program is decomposed (``decompositions``). ``../lowering/recurrent_calls.py`` takes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.lowering.gpu.fix_steps import STEPS

torch.library.define(
    "espalier::gru", "(Tensor gates, Tensor initial, Tensor weight, Tensor? bias, bool reverse) -> Tensor")
torch.library.define(
    "espalier::lstm", "(Tensor gates, Tensor initial, Tensor cell, Tensor weight, Tensor? bias, bool reverse)"
                      " -> (Tensor, Tensor)")


@torch.library.register_fake("espalier::gru")
def _gru_shape(gates: Any, initial: Any, weight: Any, bias: Any, reverse: bool) -> Any:
    return gates.new_empty(gates.shape[0], *initial.shape)


@torch.library.register_fake("espalier::lstm")
def _lstm_shape(gates: Any, initial: Any, cell: Any, weight: Any, bias: Any, reverse: bool) -> Any:
    return gates.new_empty(gates.shape[0], *initial.shape), torch.empty_like(cell)


# -- modules to operators ------------------------------------------------------------------------


def gru(x: torch.Tensor, initial: torch.Tensor, weights: Sequence[torch.Tensor], biases: bool, layers: int,
        dropout: float, train: bool, bidirectional: bool,
        batch_first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """``torch.gru`` by ``espalier::gru``; dropout is for training alone."""

    def cell(number: int, gates: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
             reverse: bool) -> torch.Tensor:
        return torch.ops.espalier.gru(gates, initial[number], weight, bias, reverse)

    x, outputs = _layers(x, weights, biases, layers, bidirectional, batch_first, cell)
    return x, torch.stack(outputs)


def lstm(x: torch.Tensor, states: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], biases: bool,
         layers: int, dropout: float, train: bool, bidirectional: bool,
         batch_first: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``torch.lstm`` by ``espalier::lstm``."""
    initial, initial_cell = states
    cells = []

    def cell(number: int, gates: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
             reverse: bool) -> torch.Tensor:
        output, last = torch.ops.espalier.lstm(gates, initial[number], initial_cell[number], weight, bias,
                                               reverse)
        cells.append(last)
        return output

    x, outputs = _layers(x, weights, biases, layers, bidirectional, batch_first, cell)
    return x, torch.stack(outputs), torch.stack(cells)


def _layers(x: torch.Tensor, weights: Sequence[torch.Tensor], biases: bool, layers: int, bidirectional: bool,
            batch_first: bool, cell: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The output of all layers, and the last state of each layer and direction.

    ``weights``: for each layer and direction weight_ih, weight_hh and, with ``biases``, bias_ih, bias_hh.
    """
    x = x.transpose(0, 1) if batch_first else x
    if isinstance(x.shape[0], int) and not x.shape[0]:
        raise EspalierError("expected at least one time step, found a sequence of length 0")
    rows, each = list(weights), 4 if biases else 2
    last: list[torch.Tensor] = []
    for _ in range(layers):
        outputs = []
        for reverse in (False, True) if bidirectional else (False,):
            weight_ih, weight_hh, *bias = rows[:each]
            rows = rows[each:]
            bias_ih, bias_hh = bias or (None, None)
            gates = torch.nn.functional.linear(x, weight_ih, bias_ih)
            outputs.append(cell(len(last), gates, weight_hh, bias_hh, reverse))
            last.append(outputs[-1][0 if reverse else -1])
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
    return x.transpose(0, 1) if batch_first else x, last


def _supported(arguments: Sequence[Any]) -> bool:
    """Whether the operators compute ``torch.gru`` or ``torch.lstm`` on these arguments: padded batches of
    floats, no projection of the output (LSTM's proj_size). Others are unrolled."""
    if len(arguments) != 9 or not isinstance(arguments[2], list | tuple):
        return False  # a packed sequence
    x, _, weights, biases, layers, _, _, bidirectional, _ = arguments
    expected = (4 if biases else 2) * layers * (2 if bidirectional else 1)
    return x.dtype.is_floating_point and len(weights) == expected


class keep_whole(TorchFunctionMode):
    """``with keep_whole(): torch.export.export(...)``: recurrent modules become our operators."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        whole: Any = {torch.gru: gru, torch.lstm: lstm}.get(func)
        if whole is None or kwargs or not _supported(args):
            return func(*args, **(kwargs or {}))
        return whole(*args)


def decompositions(table: Mapping[Any, Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """``table``, by which a program is decomposed, with our operators for GRUs and LSTMs."""

    def either(whole: Callable[..., Any], operator: Any) -> Callable[..., Any]:
        return lambda *args: whole(*args) if _supported(args) else table[operator](*args)

    pairs = ((gru, torch.ops.aten.gru.input), (lstm, torch.ops.aten.lstm.input))
    return {**table, **{operator: either(whole, operator) for whole, operator in pairs}}


# -- the free number of time steps ---------------------------------------------------------------


def free_length(program: torch.export.ExportedProgram) -> Any:
    """The symbol that is the number of time steps of the program's recurrent layers; None where there is
    none, or where it is a number."""
    ours = (torch.ops.espalier.gru.default, torch.ops.espalier.lstm.default)
    for node in program.graph.nodes:
        if node.target in ours:
            length = node.args[0].meta["val"].shape[0]
            if not isinstance(length, int):
                return length
    return None


def mark_steps(module: ir.Module, length: Any) -> None:
    """Sets ``espalier.steps`` of the function ``main`` to what the free length is in the example."""
    main = module.body.operations[0].operation
    with module.context:
        main.attributes[STEPS] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), int(length.node.hint))


__all__ = ["decompositions", "free_length", "keep_whole", "mark_steps"]
