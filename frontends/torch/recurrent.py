"""GRU and LSTM modules stay whole on their way to linalg: torch-mlir alone would unroll every time step.

    y, h = nn.GRU(...)(x)          torch.nn.functional.linear(x, weight_ih, bias_ih)
                              ->   espalier::gru(gates, initial, weight_hh, bias_hh, reverse)
                                   (the same for every layer and direction, and a concatenation)

The custom operators ``espalier::gru`` and ``espalier::lstm`` stand for one layer in one direction each. They
come in when a module is exported (``keep_whole``, which leaves the number of time steps free) or when an
exported program is decomposed (``decompositions``). torch-mlir carries them as calls of private functions
(``calls_of_operators``), and these become ``sparse.gru`` and ``sparse.lstm`` (``ops_of_calls``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...sparse_dialect.dialect.recurrent import DIRECTIONS, GruOp, LstmOp
from ...sparse_dialect.dialect.schedules import set_record
from ...sparse_dialect.dialect.schemes import UndetectedAttr
from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.schedule.record import Record

OPERATORS = ("torch.espalier.gru", "torch.espalier.lstm")
PREFIX = "espalier_"  # of the private functions

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
    f32, no projection of the output (LSTM's proj_size). Others are unrolled."""
    if len(arguments) != 9 or not isinstance(arguments[2], list | tuple):
        return False  # a packed sequence
    x, _, weights, biases, layers, _, _, bidirectional, _ = arguments
    expected = (4 if biases else 2) * layers * (2 if bidirectional else 1)
    return x.dtype == torch.float32 and len(weights) == expected


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


# -- operators to ops ----------------------------------------------------------------------------


def calls_of_operators(module: ir.Module) -> None:
    """Replaces our ``torch.operator``s by calls of private functions, which torch-mlir's passes carry on."""
    with module.context, ir.Location.unknown():
        for number, op in enumerate(_operations(module.operation, "torch.operator")):
            kind = ir.StringAttr(op.attributes["name"]).value
            if kind not in OPERATORS:
                continue
            *operands, reverse = op.operands
            operands = [value for value in operands if str(value.type) != "!torch.none"]
            types = [value.type for value in operands]
            results = [value.type for value in op.results]
            name = f"{PREFIX}{kind.rpartition('.')[2]}_{number}"
            backwards = ir.BoolAttr(reverse.owner.attributes["value"]).value
            direction = ir.StringAttr.get(DIRECTIONS[backwards])
            with ir.InsertionPoint.at_block_begin(module.body):
                ir.Operation.create("func.func", regions=1, attributes={
                    "sym_name": ir.StringAttr.get(name), "sym_visibility": ir.StringAttr.get("private"),
                    "function_type": ir.TypeAttr.get(ir.FunctionType.get(types, results)),
                    "espalier.direction": direction})
            with ir.InsertionPoint(op), op.location:
                call = ir.Operation.create("func.call", results, operands,
                                           {"callee": ir.FlatSymbolRefAttr.get(name)})
            _replace(op, call)


def ops_of_calls(module: ir.Module) -> None:
    """Replaces the calls of those functions, on tensors by now, by ``sparse.gru`` and ``sparse.lstm``."""
    functions = {}
    for op in _operations(module.operation, "func.func"):
        name = ir.StringAttr(op.attributes["sym_name"]).value
        if "espalier.direction" in op.attributes:
            functions[name] = op
    with module.context:
        for call in _operations(module.operation, "func.call"):
            name = ir.FlatSymbolRefAttr(call.attributes["callee"]).value
            if name in functions:
                with ir.InsertionPoint(call), call.location:
                    op = _recurrent_op(name, functions[name].attributes["espalier.direction"], call)
                _replace(call, op.operation)
        for function in functions.values():
            function.erase()


def _recurrent_op(name: str, direction: ir.Attribute, call: ir.Operation) -> GruOp | LstmOp:
    types, operands = [result.type for result in call.results], list(call.operands)
    states = 1 if name.startswith(f"{PREFIX}gru") else 2
    gates, *rest, weight = operands[: states + 2]
    bias = operands[states + 2] if len(operands) > states + 2 else None
    common: dict[str, Any] = {"gates": gates, "initial": rest[0], "weight": weight, "direction": direction,
                              "scheme": UndetectedAttr.get(), "output": types[0], "bias": bias}
    op = GruOp(**common) if states == 1 else LstmOp(cell=rest[1], final_cell=types[1], **common)
    location = call.location
    if isinstance(location, ir.NameLoc):
        set_record(op, Record(layer=location.name_str))
    return op


def _operations(root: ir.Operation, name: str) -> list[ir.Operation]:
    """The operations called ``name`` inside ``root``."""

    def walk(op: ir.Operation) -> Iterator[ir.Operation]:
        for region in op.regions:
            for block in region.blocks:
                for view in block.operations:
                    yield view.operation
                    yield from walk(view.operation)

    return [op for op in walk(root) if op.name == name]


def _replace(old: ir.Operation, new: ir.Operation) -> None:
    for before, after in zip(old.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    old.erase()


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


__all__ = ["calls_of_operators", "decompositions", "free_length", "keep_whole", "ops_of_calls"]
