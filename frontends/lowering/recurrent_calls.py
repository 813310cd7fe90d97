"""GRUs and LSTMs on their way through torch-mlir, as calls of functions that it does not know.

    torch.operator "torch.espalier.gru"(gates, initial, weight, bias, reverse)
    torch.operator "onnx.EspalierGru"(gates, initial, weight, bias) {torch.onnx.reverse}
      ->  func.call @espalier_gru_0(gates, initial, weight, bias)      the function says the direction
      ->  sparse.gru                                                   on tensors, behind torch-mlir's passes
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...sparse_dialect.dialect.recurrent import DIRECTIONS, GruOp, LstmOp
from ...sparse_dialect.dialect.schedules import set_record
from ...sparse_dialect.dialect.schemes import UndetectedAttr
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.schedule.record import Record

OPERATORS = {"torch.espalier.gru": "gru", "torch.espalier.lstm": "lstm",
             "onnx.EspalierGru": "gru", "onnx.EspalierLstm": "lstm"}
REVERSE = "torch.onnx.reverse"  # an attribute, where the last operand does not say it
PREFIX = "espalier_"  # of the private functions


def calls_of_operators(module: ir.Module) -> None:
    """Replaces our ``torch.operator``s by calls of private functions, which torch-mlir's passes carry on."""
    with module.context, ir.Location.unknown():
        for number, op in enumerate(_operations(module.operation, "torch.operator")):
            kind = ir.StringAttr(op.attributes["name"]).value
            if kind not in OPERATORS:
                continue
            operands, backwards = _operands(op)
            types = [value.type for value in operands]
            results = [value.type for value in op.results]
            name = f"{PREFIX}{OPERATORS[kind]}_{number}"
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


def _operands(op: ir.Operation) -> tuple[list[ir.Value], bool]:
    """The tensors that ``op`` reads, and whether it runs backwards in time."""
    operands = list(op.operands)
    if REVERSE in op.attributes:
        backwards = bool(ir.IntegerAttr(op.attributes[REVERSE]).value)
    else:
        backwards = ir.BoolAttr(operands.pop().owner.attributes["value"]).value
    return [value for value in operands if str(value.type) != "!torch.none"], backwards


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


__all__ = ["calls_of_operators", "ops_of_calls"]
