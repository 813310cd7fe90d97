"""``.mlir`` files to linalg on tensors; needs no PyTorch.

A file is in linalg already, or in TOSA or torch-mlir's dialect, which upstream's passes lower:

    tosa.add %x, %y          ->   linalg.generic { arith.addf }
    torch.aten.relu %x       ->   linalg.generic { arith.maximumf }
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import numpy as np

from ..pipelines.extremes import check_extremes
from ..pipelines.upstream import HAS_TORCH_PASSES, reading_context
from ..sparse_dialect.errors import EspalierError, op_error
from ..sparse_dialect.ir.mlir import bindings, ir
from ..sparse_dialect.ir.walk import blocks, mentions, with_inner

FROM_TOSA = ("builtin.module(func.func(tosa-to-linalg-named,tosa-to-linalg,tosa-to-arith,tosa-to-tensor,"
             "tosa-to-scf),canonicalize)")


SIZED = re.compile(r"!torch\.v?tensor<\[[^\]]*\],(?!unk)")
VIEWS = ("torch.aten.view", "torch.aten.reshape", "torch.aten._unsafe_view")
EMPTY = re.compile(r"<\[(?:[^\]]*,)?0[,\]]")
LARGEST = 1 << 60  # elements of a tensor


def load_mlir(path: str | Path) -> ir.Module:
    """
    Reads an ``.mlir`` file (text or bytecode) in linalg on tensors, TOSA or torch-mlir's dialect; the result
    is in linalg and owns its MLIR context.

    Raises ``EspalierError`` when the file cannot be read, parsed or lowered, holds no function, or has a
    dynamic dimension.
    """
    context = reading_context()
    if HAS_TORCH_PASSES:
        bindings("dialects.torch").register_dialect(context)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise EspalierError(f"{path}: cannot read: {error.strerror}") from error
    try:
        source = data if data.startswith(b"ML\xefR") else data.decode()
    except UnicodeDecodeError as error:
        raise EspalierError(f"{path}: expected MLIR text or bytecode, found other binary data") from error
    try:
        module = ir.Module.parse(source, context)
    except ir.MLIRError as error:
        raise EspalierError(f"{path}: {_diagnostic(error)}") from error
    try:
        check_calls(module, str(path))
        _lower(module, str(path))
        check_static(module, str(path))
        check_extremes(module.operation)
    except RecursionError as error:
        raise EspalierError(f"{path}: its regions are nested too deeply") from error
    return module


def _lower(module: ir.Module, what: str) -> None:
    """Lowers what is in torch-mlir's dialect or in TOSA to linalg, in place."""
    from .lowering.torch_dialect import run, to_linalg  # needs this module

    try:
        if mentions(module.operation, "torch."):
            _check_torch(module)
            to_linalg(module)
        if mentions(module.operation, "tosa."):
            _check_tosa(module)
            run(module, FROM_TOSA)
    except EspalierError as error:
        raise EspalierError(f"{what}: {error}") from error


def _check_torch(module: ir.Module) -> None:
    """Raises ``EspalierError`` for what ends torch-mlir's passes with a signal: tensors without sizes, and
    views of tensors without elements."""
    for block in blocks(module.operation):
        for view in block.operations:
            op = view.operation
            for value in (*block.arguments, *op.results):
                text = str(value.type)
                if text.startswith(("!torch.vtensor", "!torch.tensor")) and not SIZED.match(text):
                    raise EspalierError(f"'{op.name}' has a tensor of type {text}; expected its sizes "
                                        "and dtype")
                if op.name in VIEWS and EMPTY.search(text):
                    raise EspalierError(f"'{op.name}' gives {text}; expected tensors that hold elements")


def _check_tosa(module: ir.Module) -> None:
    """Raises ``EspalierError`` for a crop: TOSA has none, and upstream merges its amounts with others."""
    for block in blocks(module.operation):
        for view in block.operations:
            op = view.operation
            if op.name == "tosa.pad" and op.operands[1].owner.name == "tosa.const_shape":
                amounts = np.array(op.operands[1].owner.attributes["values"]).astype(np.int64)
                if amounts.min(initial=0) < 0:
                    raise op_error(op, "amounts of 0 or more", str(amounts.tolist()),
                                   "write a crop as tosa.slice")


def check_calls(module: ir.Module, what: str) -> None:
    """No function that calls itself, through others or not: code has no stack that grows."""
    calls = {ir.StringAttr(function.operation.attributes["sym_name"]).value:
             {ir.FlatSymbolRefAttr(op.attributes["callee"]).value
              for op in with_inner(function.operation) if op.name == "func.call"}
             for function in module.body.operations if function.operation.name == "func.func"}
    for name in calls:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            new = calls.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        if name in reached:
            raise EspalierError(f"{what}: function @{name} calls itself; write its steps out, or as a loop")


def check_static(module: ir.Module, what: str) -> None:
    """Functions, all of whose tensors have static shapes."""
    functions = [op.operation for op in module.body.operations if op.operation.name == "func.func"]
    if not functions:
        raise EspalierError(f"{what}: expected a func.func, found none")

    def dynamic(op: ir.Operation) -> str | None:
        if op.name == "func.func":
            signature = ir.FunctionType(ir.TypeAttr(op.attributes["function_type"]).value)
            types = [*signature.inputs, *signature.results]
        else:
            types = [result.type for result in op.results]
        for type_ in types:
            if isinstance(type_, ir.RankedTensorType) and not ir.RankedTensorType(type_).has_static_shape:
                return f"'{op.name}' has the dynamic shape {type_}; expected static shapes"
            if isinstance(type_, ir.RankedTensorType) and prod(ir.RankedTensorType(type_).shape) > LARGEST:
                return f"'{op.name}' has the shape {type_}, which no memory holds"
        inner = (o.operation for r in op.regions for b in r.blocks for o in b.operations)
        return next(filter(None, map(dynamic, inner)), None)

    complaint = next(filter(None, map(dynamic, functions)), None)
    if complaint:
        raise EspalierError(f"{what}: {complaint}")


def first_line(error: BaseException) -> str:
    """An exception as one line; its type too, where the text alone says little (KeyError)."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _diagnostic(error: ir.MLIRError) -> str:
    """The first diagnostic of an MLIR error: line:column: message."""
    if not error.error_diagnostics:
        return first_line(error)
    first = error.error_diagnostics[0]
    place = re.search(r'"[^"]*":(\d+):(\d+)', str(first.location))
    known = place is not None and place[1] != "0"
    return (f"{place[1]}:{place[2]}: " if place and known else "") + first.message.splitlines()[0]
