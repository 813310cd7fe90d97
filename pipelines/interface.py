"""A program's inputs and outputs, as the compiled model's manifest lists them."""

from __future__ import annotations

from typing import Any

from ..errors import EspalierError
from ..runtime.abi import FREE
from ..runtime.records import TensorSpec
from ..sparse_dialect.ir.constants import ELEMENTS, dtype_of, has_dtype
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.lowering.buffers.arguments import public_functions


def interface_of(root: ir.Operation, free: bool) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs of the one public function of ``root``, a module; every tensor must be ranked, and
    of static sizes unless ``free``. Raises ``EspalierError`` in one line for other modules."""
    _check_complete(root)
    return _signature(_entry(root), free)


def _check_complete(root: ir.Operation) -> None:
    """Raises ``EspalierError`` for functions that are declared only."""
    for view in root.regions[0].blocks[0].operations:
        if view.operation.name == "func.func" and not list(view.operation.regions[0].blocks):
            name = ir.StringAttr(view.operation.attributes["sym_name"]).value
            raise EspalierError(f"function @{name} has no body; expected a whole program")


def _entry(root: ir.Operation) -> Any:
    """The one public function."""
    functions = public_functions(root)
    if len(functions) != 1:
        names = ", ".join(f"@{ir.StringAttr(f.operation.attributes['sym_name']).value}" for f in functions)
        rest = f"{names}; make the others private" if names else "private ones alone"
        raise EspalierError(f"expected one public function, found {rest}")
    return functions[0]


def _signature(function: Any, free: bool) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs; every tensor must be ranked, and static unless ``free``."""
    type_ = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value)
    unsigned = _unsigned(function)
    found: list[list[TensorSpec]] = []
    for kind, types in (("input", type_.inputs), ("output", type_.results)):
        specs = []
        for number, entry in enumerate(types):
            if not isinstance(entry, ir.RankedTensorType):
                raise EspalierError(f"{kind} {number}: expected a ranked tensor, found {entry}")
            if not entry.has_static_shape and not free:
                raise EspalierError(f"{kind} {number}: expected a static shape, found {entry}; "
                                    f"export the model with fixed sizes")
            shape = tuple(FREE if entry.is_dynamic_dim(at) else entry.get_dim_size(at)
                          for at in range(entry.rank))
            if not has_dtype(entry.element_type) or str(entry.element_type)[0] not in "fi" or (
                    isinstance(entry.element_type, ir.IndexType)):
                raise EspalierError(f"{kind} {number}: expected elements of {ELEMENTS}, found {entry}; cast "
                                    f"them")
            dtype = dtype_of(entry.element_type).name
            sign = "u" if number in unsigned[kind] else ""
            specs.append(TensorSpec(f"{kind}_{number}", shape, sign + dtype))
        found.append(specs)
    if not found[1]:
        raise EspalierError("expected a function that returns a tensor, found one that returns nothing")
    return found[0], found[1]


def _unsigned(function: Any) -> dict[str, list[int]]:
    """The positions of inputs and outputs whose integers the frontend says are unsigned."""
    attributes = function.operation.attributes
    if "espalier.unsigned" not in attributes:
        return {"input": [], "output": []}
    return {entry.name: list(ir.DenseI64ArrayAttr(entry.attr)) for entry in attributes["espalier.unsigned"]}
