"""``sparse-fix-steps``: a free number of time steps becomes the most that a run may have.

    module { func.func @main(%x: tensor<?x2x8xf32>)     ->  module attributes {espalier.most_steps = 6, ...} {
    "sparse.packed_linear"(...) : tensor<?x48xf32>             func.func @main(%x: tensor<6x2x8xf32>)
                                                               "sparse.packed_linear"(...) : tensor<12x48xf32>

A GPU's memory is planned and its launches are recorded before a run says how many steps it has. So what is
not recurrent may only compute each step alone: what it makes of steps that a run has not is never looked at.
Recurrent layers stop at the run's number of steps (``kernels/recurrent.py``) and hand their state on, so that
the last step's state is that of the run's last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...dialect.packed import PackedLinearOp
from ...dialect.recurrent import PackedGruOp, PackedLstmOp
from ...errors import op_error
from ...ir.mlir import bindings, ir, passmanager
from ...ir.values import i64, shape_of, text_of
from ...passes import Pass, PassContext, option
from ..buffers.arguments import functions

tensor: Any = bindings("dialects.tensor")

STEPS, MOST_STEPS, FREE = "espalier.steps", "espalier.most_steps", "espalier.free"
_REMEDY = "fix the number of time steps"
_RECURRENT = (PackedGruOp, PackedLstmOp)
_EACH_ALONE = ("tensor.collapse_shape", "tensor.expand_shape", "tensor.dim", "tensor.empty", "tensor.concat",
               "tensor.extract_slice", "linalg.generic", "func.return")


@dataclass(frozen=True)
class FixStepsPass(Pass):
    """
    Gives tensors of a free number of time steps the size of the most steps; others are left alone.

    Steps come first among a tensor's dimensions, and only recurrent layers may mix them. The last step may
    be read of a layer that runs forwards alone, the first of any tensor.
    """

    name = "sparse-fix-steps"

    steps: int = option(0, "the most time steps of a run; 0: those of the example that the program came with")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown():
            known = functions(op)
            if len(known) != 1 or not any(map(_is_free, known[0].regions[0].blocks[0].arguments)):
                return
            block = known[0].regions[0].blocks[0]
            steps = self.steps or _example(known[0])
            end = list(block.operations)[-1].operation
            _check(block)
            free = [int(_is_free(value)) for value in (*block.arguments, *end.operands)]
            _fix(op, known[0], block, steps)
            op.attributes[MOST_STEPS] = i64(steps)
            op.attributes[FREE] = ir.DenseI64ArrayAttr.get(free)
            for slice_ in (view.operation for view in block.operations):
                if slice_.name == "tensor.extract_slice":
                    _check_slice(slice_, steps)


def _example(function: Any) -> int:
    """The time steps of the program's example."""
    if STEPS not in function.operation.attributes:
        raise op_error(function, "how many time steps a run may have", "no example",
                       "give sparse-fix-steps{steps=N}")
    return int(ir.IntegerAttr(function.operation.attributes[STEPS]).value)


def _is_free(value: Any) -> bool:
    type_ = value.type
    return isinstance(type_, ir.RankedTensorType) and not ir.RankedTensorType(type_).has_static_shape


def _check(block: ir.Block) -> None:
    """Raises ``PassError`` for what mixes time steps, or has them elsewhere than first."""
    for value in block.arguments:
        _check_place(block.owner, value)
    for view in block.operations:
        op = view.operation
        for value in op.results:
            _check_place(op, value)
        if not any(map(_is_free, (*op.operands, *op.results))):
            if isinstance(view, _RECURRENT):
                raise op_error(op, "the free number of time steps in every recurrent layer", "a fixed one",
                               _REMEDY)
            continue
        known = isinstance(view, (PackedLinearOp, *_RECURRENT)) or op.name in _EACH_ALONE
        along = op.name == "tensor.concat" and ir.IntegerAttr(op.attributes["dim"]).value == 0
        if not known or along or (op.name == "linalg.generic" and _mixes(op)):
            raise op_error(op, "what computes each time step alone", "an op that mixes them", _REMEDY)


def _check_place(op: Any, value: Any) -> None:
    if _is_free(value) and any(map(ir.RankedTensorType(value.type).is_dynamic_dim,
                                   range(1, len(shape_of(value))))):
        raise op_error(op, "time steps as the first dimension", str(value.type), _REMEDY)


def _mixes(op: Any) -> bool:
    """Whether a linalg.generic reads of other steps than it writes."""
    maps = [ir.AffineMapAttr(one).value for one in ir.ArrayAttr(op.attributes["indexing_maps"])]
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    first = [own.results[0] for own, value in zip(maps, op.operands, strict=True) if _is_free(value)]
    if not all(isinstance(place, ir.AffineDimExpr) for place in first):
        return True
    loops = {place.position for place in first}
    inside = any(_is_free(value) for view in op.regions[0].blocks[0].operations
                 for value in view.operation.operands)
    return len(loops) != 1 or "parallel" not in kinds[next(iter(loops))] or inside


def _fix(root: ir.Operation, function: Any, block: ir.Block, steps: int) -> None:
    """Sizes go from the arguments on through what upstream canonicalizes; our layers and concatenations are
    given theirs in between."""
    for argument in filter(_is_free, block.arguments):
        _give_size(argument, steps, ir.InsertionPoint.at_block_begin(block))
    _retype(function, block)
    layers = [view for view in block.operations if isinstance(view, (PackedLinearOp, *_RECURRENT))
              or view.operation.name == "tensor.concat"]
    while layers:
        passmanager.PassManager.parse("builtin.module(canonicalize)").run(root)
        ready = [view for view in layers
                 if all(map(_is_cast, filter(_is_free, view.operation.operands)))]
        for view in ready:
            _give(view.operation)
        layers = [view for view in layers if view not in ready]
        if not ready:
            raise op_error(layers[0], "a number of time steps that is an input's", "another size", _REMEDY)
    passmanager.PassManager.parse("builtin.module(canonicalize)").run(root)
    end = list(block.operations)[-1].operation
    for at, value in enumerate(end.operands):
        if _is_free(value) and _is_cast(value):
            end.operands[at] = value.owner.operation.operands[0]
    _retype(function, block)
    passmanager.PassManager.parse("builtin.module(canonicalize)").run(root)
    for view in block.operations:
        if any(map(_is_free, view.operation.results)):
            raise op_error(view, "a number of time steps that is an input's", "another size", _REMEDY)


def _retype(function: Any, block: ir.Block) -> None:
    """The function's type is what it takes and gives."""
    end = list(block.operations)[-1].operation
    types = ([value.type for value in values] for values in (block.arguments, end.operands))
    function.operation.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(*types))


def _is_cast(value: Any) -> bool:
    return not isinstance(value.owner, ir.Block) and value.owner.operation.name == "tensor.cast"


def _give(op: ir.Operation) -> None:
    """An operation's free results get the size of its operands, which are casts."""
    size = 0
    for at, value in enumerate(op.operands):
        if _is_free(value):
            op.operands[at] = value.owner.operation.operands[0]
            size = shape_of(op.operands[at])[0]
    for result in filter(_is_free, op.results):
        _give_size(result, size, ir.InsertionPoint.after(op))


def _give_size(value: Any, size: int, after: ir.InsertionPoint) -> None:
    """``value`` with a first dimension of ``size``; its users see it cast to what it was."""
    given = ir.RankedTensorType(value.type)
    value.set_type(ir.RankedTensorType.get([size, *given.shape[1:]], given.element_type))
    with after:
        cast = tensor.CastOp(given, value)
    value.replace_all_uses_except(cast.result, cast.operation)


def _check_slice(op: Any, steps: int) -> None:
    """Of steps, the first may be read, or the last of a layer that hands it on."""
    source, sizes = op.operands[0], list(ir.DenseI64ArrayAttr(op.attributes["static_sizes"]))
    first = next(iter(ir.DenseI64ArrayAttr(op.attributes["static_offsets"])))
    if shape_of(source)[0] != steps or sizes[0] == steps or (first == 0 and sizes[0] == 1):
        return
    owner = None if isinstance(source.owner, ir.Block) else source.owner
    direction = text_of(owner.operation.attributes, "direction") if isinstance(owner, _RECURRENT) else ""
    if not (direction == "forward" and first == steps - 1 and sizes[0] == 1):
        raise op_error(op, "the first step, or the last of a layer that runs forwards", "other steps",
                       _REMEDY)
