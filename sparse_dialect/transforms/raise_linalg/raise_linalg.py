"""``sparse-raise-linalg``: linalg on tensors becomes one ``sparse`` op a layer.

Layers are read backwards, so that of two added convolutions the later one takes the earlier as its
residual. What matches no rule stays as it is: every linalg program is valid input.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...dialect.dialect import register_dialect
from ...dialect.layouts import PlainAttr
from ...dialect.ops import ConvOp, LinearOp, PoolOp
from ...dialect.schedules import set_record
from ...dialect.schemes import UndetectedAttr
from ...errors import op_error
from ...ir.constants import constant, dtype_of
from ...ir.mlir import ir
from ...ir.values import i64, integer_array, shape_of
from ...passes import Pass, PassContext, option
from ...schedule.record import Record
from .epilogue import Epilogue, follow, linear
from .layers import Layer, match_layer
from .pools import LaneImages, Pool, match_pool
from .values import elementwise, evaluate, owner

REMOVABLE = ("arith.constant", "linalg.fill", "linalg.broadcast", "linalg.transpose", "linalg.generic",
             "tensor.empty", "tensor.pad", "tensor.expand_shape", "tensor.collapse_shape")


@dataclass(frozen=True)
class RaiseLinalgPass(Pass):
    """
    Turns linalg convolutions and pools (1-D to 3-D) and matrix products into sparse.conv, sparse.pool and
    sparse.linear. A 1x1 convolution of images of one pixel is a matrix product.

    Padding, bias, batch norm, an activation of the table (activations.py), and one added tensor (the
    residual) are fused into the layer, as far as nothing else reads what lies between. Weights must be
    constant; they become f32 [F, C/groups, *kernel] or [M, K], and batch norm is folded into them in f64.
    Each op carries its layer's name in `layer`, and the scheme #sparse.undetected. Everything else stays in
    linalg.
    """

    name = "sparse-raise-linalg"

    lone_means: bool = option(True, "raise the mean of an image that no layer gives, too")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        register_dialect(op.context)
        names = _Names()
        matched: list[Layer | Pool] = []
        for candidate in _operations(op):
            match = match_layer(candidate) or match_pool(candidate)
            if match is not None:
                matched.append(match)
        if not self.lone_means:
            lanes = LaneImages(match.result for match in matched)
            matched = [match for match in matched if isinstance(match, Layer) or not match.is_whole_mean
                       or lanes.has(match.input.source)]
        labels = [names.of(match.root, "pooling" if isinstance(match, Pool) else "conv") for match in matched]
        with op.context:
            for match, label in zip(reversed(matched), reversed(labels), strict=True):
                if isinstance(match, Layer):
                    _raise_layer(match, label, context)
                else:
                    _raise_pool(match, label, context)
            _fold_constants(op, context)


class _Names:
    """Layer names: the name location that the importer gave, else the kind of op and a number."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def of(self, op: ir.Operation, generic: str) -> str:
        """A name that no other layer has: a module that runs twice gives ``fc`` and ``fc#2``. ``generic``
        stands for a linalg.generic."""
        location = op.location
        named = isinstance(location, ir.NameLoc) and location.name_str
        kind = re.sub(r"^linalg\.(depthwise_)?", "", op.name).split("_")[0].replace("generic", generic)
        name = location.name_str if named else kind
        self._seen[name] += 1
        count = self._seen[name]
        if named:
            return name if count == 1 else f"{name}#{count}"
        return f"{kind}{count}"


def _operations(op: ir.Operation) -> Iterator[ir.Operation]:
    """All operations inside ``op``, in program order."""
    for region in op.regions:
        for block in region.blocks:
            for view in block.operations:
                yield view.operation
                if not view.operation.name.startswith("linalg."):
                    yield from _operations(view.operation)


def _raise_layer(layer: Layer, name: str, context: PassContext) -> None:
    if layer.is_of_a_pixel:
        layer = layer.as_matrix_product()
    epilogue, ops = follow(layer.result, layer.epilogue, residuals=layer.groups > 0)
    last = ops[-1] if ops else layer.last
    result = last.results[0]
    with ir.InsertionPoint(last), layer.root.location:
        weight = _weight(layer, epilogue, name)
        bias = constant(epilogue.shift.astype(np.float32), f"{name}.bias") if np.any(epilogue.shift) else None
        activation, scheme = ir.StringAttr.get(epilogue.activation), UndetectedAttr.get()
        if layer.groups:
            geometry = map(integer_array, (layer.strides, layer.input.low, layer.input.high, layer.dilations))
            op = ConvOp(layer.input.source, weight, *geometry, i64(layer.groups), activation, scheme,
                        result.type, bias=bias, residual=epilogue.residual)
        else:
            op = LinearOp(_as_matrix(layer.input.source), weight, activation, scheme,
                          _matrix_type(result), bias=bias)
        set_record(op, Record(layer=name))
        new = _as_pixels(op.operation.results[0], result)
    context.statistics["convolutions raised" if layer.groups else "matrix products raised"] += 1
    context.statistics["batch norms folded"] += epilogue.is_scaled
    context.statistics["residuals fused"] += epilogue.residual is not None
    context.statistics["activations fused"] += epilogue.activation != "none"
    own = [layer.root] if layer.last == layer.root else [layer.root, layer.last]
    _replace(result, new, [*own, *ops])


def _matrix_type(value: ir.Value) -> ir.Type:
    """The type of [N, C, 1, ...] as [N, C]."""
    type_ = ir.RankedTensorType(value.type)
    return ir.RankedTensorType.get(type_.shape[:2], type_.element_type)


def _as_matrix(value: ir.Value) -> ir.Value:
    """[N, C, 1, ...] as [N, C]."""
    if len(shape_of(value)) == 2:
        return value
    return ir.Operation.create("tensor.collapse_shape", [_matrix_type(value)], [value],
                               {"reassociation": _pixel(value)}).result


def _as_pixels(matrix: ir.Value, like: ir.Value) -> ir.Value:
    """[N, C] in the shape of ``like``, [N, C, 1, ...]."""
    if matrix.type == like.type:
        return matrix
    attributes = {"reassociation": _pixel(like),
                  "static_output_shape": ir.DenseI64ArrayAttr.get(shape_of(like))}
    return ir.Operation.create("tensor.expand_shape", [like.type], [matrix], attributes).result


def _pixel(value: ir.Value) -> ir.Attribute:
    """The reassociation of [N, C, 1, ...] and [N, C]."""
    return ir.ArrayAttr.get([integer_array([0]), integer_array(range(1, len(shape_of(value))))])


def _weight(layer: Layer, epilogue: Epilogue, name: str) -> ir.Value:
    """The weight with the epilogue's scale folded in: the program's own constant when nothing changes."""
    array = layer.weight.array
    if not np.isfinite(np.min(array, initial=0.0)) or not np.isfinite(np.max(array, initial=0.0)):
        raise op_error(layer.root, f"finite weights in layer '{name}'", "NaN or infinity",
                       "check the trained model")
    if not epilogue.is_scaled:
        return layer.weight.constant if layer.weight.is_original else constant(array, f"{name}.weight")
    scale = epilogue.scale.reshape(-1, *(1,) * (array.ndim - 1))
    return constant(np.multiply(array, scale, dtype=np.float64).astype(np.float32), f"{name}.weight")


def _raise_pool(pool: Pool, name: str, context: PassContext) -> None:
    size = int(np.prod(pool.kernel))
    ops: list[ir.Operation] = []
    if pool.kind == "average" and size > 1:
        division = _division(pool.result, size)
        if division is None:
            return
        ops = [division]
    elif pool.kind == "average" and pool.result.type == pool.input.source.type:  # windows of one element
        context.statistics["identity pools removed"] += 1
        _replace(pool.result, pool.input.source, list(pool.ops))
        return
    last = ops[-1] if ops else pool.ops[-1]
    result = last.results[0]
    with ir.InsertionPoint(last), pool.root.location:
        new = _pool(pool, result, name)
    context.statistics["pools raised"] += 1
    _replace(result, new, [*pool.ops, *ops])


def _pool(pool: Pool, result: ir.Value, name: str) -> ir.Value:
    """The new op's result [N, C, *image], collapsed where ``result`` is [N, C]."""
    batch, channels, *sizes = shape_of(pool.input.source)
    collapsed = len(shape_of(result)) == 2
    whole = ir.RankedTensorType.get([batch, channels, *[1] * len(sizes)], ir.F32Type.get())
    type_ = whole if collapsed else result.type
    geometry = map(integer_array, (pool.kernel, pool.strides, pool.input.low, pool.input.high))
    plain = PlainAttr.get()
    op = PoolOp(pool.input.source, ir.StringAttr.get(pool.kind), *geometry, plain, plain, type_).operation
    set_record(op, Record(layer=name))
    if not collapsed:
        return op.results[0]
    return _as_matrix(op.results[0])


def _division(total: ir.Value, size: int) -> ir.Operation | None:
    """The only reader of ``total``, if it divides every element by ``size`` and does nothing else."""
    uses = list(total.uses)
    body = elementwise(uses[0].owner.operation) if len(uses) == 1 else None
    if body is None:
        return None
    after = linear(Epilogue.identity(shape_of(total)[1]), body, total)
    if after is None or np.any(after.shift):
        return None
    return uses[0].owner.operation if np.allclose(after.scale, 1.0 / size, rtol=1e-7, atol=0.0) else None


def _fold_constants(op: ir.Operation, context: PassContext) -> None:
    """Replaces what is left of generics on constants alone, with the assertions inside them."""
    for generic in [o for o in _operations(op) if o.name == "linalg.generic" and len(o.results) == 1]:
        array = evaluate(generic.results[0])
        if array is None or not np.all(np.isfinite(array)):
            continue
        dtype = dtype_of(ir.RankedTensorType(generic.results[0].type).element_type)
        with ir.InsertionPoint(generic), generic.location:
            new = constant(array.astype(dtype), "folded")
        context.statistics["constants folded"] += 1
        _replace(generic.results[0], new, [generic])



def _replace(old: ir.Value, new: ir.Value, ops: list[ir.Operation]) -> None:
    """Lets readers of ``old`` read ``new``, and erases ``ops`` (in program order) and what only they read."""
    old.replace_all_uses_with(new)
    pending: set[ir.Operation] = set()
    for op in reversed(ops):
        pending |= _producers(op)
        pending.discard(op)
        op.erase()
    while pending:
        op = pending.pop()
        unused = not any(list(result.uses) for result in op.results)
        if unused and op.name in REMOVABLE and not _is_reduction(op):
            pending |= _producers(op)
            op.erase()


def _producers(op: ir.Operation) -> set[ir.Operation]:
    """The ops outside ``op`` whose results it reads, inside its regions too."""
    inner = {o for region in op.regions for block in region.blocks for view in block.operations
             for o in (view.operation, *_operations(view.operation))}
    values = [value for reader in (op, *inner) for value in reader.operands]
    return {p for v in values if (p := owner(v)) is not None} - inner


def _is_reduction(op: ir.Operation) -> bool:
    """A reduction may be a pool that still waits for its turn."""
    return op.name == "linalg.generic" and "reduction" in str(op.attributes["iterator_types"])
