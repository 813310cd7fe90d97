"""What an operation computes again in each turn of an outer loop, though it is the same, is computed once.

    y[c, i] = x[c, f(p[i])] * g(p[i])      f and g for every c and i
    -> a[i], b[i] = f(p[i]), g(p[i])       f and g for every i
       y[c, i] = x[c, a[i]] * b[i]

Only where that is more than what the second operation then has to read, and asserted: the places and weights
of a sampled grid. Along the innermost loop nothing is computed again (``body``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.walk import operations
from .body import clone
from .generic_op import generic_op, parallel_loops
from .memory import Value

arith: Any = bindings("dialects.arith")
cf: Any = bindings("dialects.cf")
linalg: Any = bindings("dialects.linalg")
tensor: Any = bindings("dialects.tensor")

TURNS = 4  # fewer turns of the outer loop are not worth an operation more
WORTH = 3  # operations, for each value that is kept in between
COSTS = {"math.": 8, "cf.assert": 3}  # operations that others make up


def take_out_same(function: ir.Operation) -> int:
    """Splits operations of ``function``; how many there were."""
    return sum(_take_out(view.operation) for view in operations(function, linalg.GenericOp))


def _take_out(op: ir.Operation) -> bool:
    maps = [ir.AffineMapAttr(each).value for each in ir.ArrayAttr(op.attributes["indexing_maps"])]
    sizes = _sizes(op, maps)
    plain = len(op.results) == 1 and "reduction" not in str(op.attributes["iterator_types"])
    if not plain or sizes is None or any(own.name == "arith.constant" for own in _body(op)):
        return False
    for loop in range(len(sizes) - 1):
        if sizes[loop] < TURNS or sizes[-1] == 1:
            continue
        inside = _same(op, maps, loop)
        kept = _kept(op, inside)
        asserts = any(own.name == "cf.assert" for own in inside)
        if kept and asserts and sum(map(_cost, inside)) >= WORTH * len(kept):
            _split(op, maps, sizes, loop, inside, kept)
            return True
    return False


def _cost(op: ir.Operation) -> int:
    return next((cost for name, cost in COSTS.items() if op.name.startswith(name)), 1)


def _sizes(op: ir.Operation, maps: Sequence[ir.AffineMap]) -> list[int] | None:
    """How many turns each loop takes; None where a map is no choice of loops, or a size is not known."""
    found = [0] * maps[-1].n_dims
    for value, map_ in zip(op.operands, maps, strict=True):
        if not isinstance(value.type, ir.RankedTensorType) or not ir.RankedTensorType(
                value.type).has_static_shape:
            return None
        for size, result in zip(ir.RankedTensorType(value.type).shape, map_.results, strict=True):
            if isinstance(result, ir.AffineDimExpr):
                found[ir.AffineDimExpr(result).position] = size
            elif not isinstance(result, ir.AffineConstantExpr):
                return None
    return found if all(found) else None


def _body(op: ir.Operation) -> list[ir.Operation]:
    return [view.operation for view in op.regions[0].blocks[0].operations]


def _moves_with(map_: ir.AffineMap, loop: int) -> bool:
    return any(isinstance(result, ir.AffineDimExpr) and ir.AffineDimExpr(result).position == loop
               for result in map_.results)


def _same(op: ir.Operation, maps: Sequence[ir.AffineMap], loop: int) -> list[ir.Operation]:
    """The operations of the body that are the same in every turn of ``loop``."""
    block = op.regions[0].blocks[0]
    moves = {argument for argument, map_ in zip(block.arguments, maps, strict=True)
             if _moves_with(map_, loop)}
    moves.add(list(block.arguments)[-1])
    found = []
    for own in _body(op):
        plain = own.name.startswith(("arith.", "math.", "cf.assert")) and not list(own.regions)
        if plain and not any(operand in moves for operand in own.operands):
            found.append(own)
        else:
            moves |= set(own.results)
    return found


def _kept(op: ir.Operation, inside: Sequence[ir.Operation]) -> list[Value]:
    """The values of ``inside`` that the rest of the body needs."""
    rest = [own for own in _body(op) if own not in inside]
    return list(dict.fromkeys(value for own in rest for value in own.operands
                              if not isinstance(value.owner, ir.Block) and value.owner.operation in inside))


def _held(value: Value, inside: Sequence[ir.Operation]) -> ir.Type:
    """The type in which ``value`` is kept: indices that only say where a tensor is read take 32 bits."""
    if not isinstance(value.type, ir.IndexType):
        return value.type
    users = [use.owner.operation for use in value.uses]
    places = all(user.name == "tensor.extract" for user in users if user not in inside)
    return ir.IntegerType.get_signless(32 if places else 64)


def _split(op: ir.Operation, maps: Sequence[ir.AffineMap], sizes: Sequence[int], loop: int,
           inside: Sequence[ir.Operation], kept: Sequence[Value]) -> None:
    """Computes ``kept`` in an operation without ``loop``, and the rest of ``op`` from it."""
    count = len(sizes)
    others = [at for at in range(count) if at != loop]
    block = op.regions[0].blocks[0]
    *arguments, last = block.arguments
    rest = [own for own in _body(op) if own not in inside]
    with ir.InsertionPoint(op), op.location:
        made = _once(op, maps, [sizes[at] for at in others], loop, inside, kept)
        read = {operand for own in rest for operand in own.operands}
        used = [at for at, argument in enumerate(arguments) if argument in read]
        place = ir.AffineMap.get(count, 0, [ir.AffineDimExpr.get(at) for at in others])
        new = generic_op([*(op.operands[at] for at in used), *made], [op.operands[len(arguments)]],
                         [*(maps[at] for at in used), *[place] * len(kept), maps[-1]], parallel_loops(count))
        body = list(new.regions[0].blocks[0].arguments)
        known = {arguments[at]: body[number] for number, at in enumerate(used)} | {last: body[-1]}
        with ir.InsertionPoint(new.regions[0].blocks[0]):
            for value, argument in zip(kept, body[len(used):-1], strict=True):
                known[value] = argument if argument.type == value.type else arith.IndexCastOp(
                    value.type, argument).result
            _copy(rest[:-1], known)
            linalg.YieldOp([known.get(value, value) for value in rest[-1].operands])
    op.results[0].replace_all_uses_with(new.results[0])
    op.erase()


def _once(op: ir.Operation, maps: Sequence[ir.AffineMap], sizes: Sequence[int], loop: int,
          inside: Sequence[ir.Operation], kept: Sequence[Value]) -> list[Value]:
    """Tensors of all values of ``kept``, computed without ``loop``."""
    count, types = len(sizes), [_held(value, inside) for value in kept]
    read = {operand for own in inside for operand in own.operands}
    arguments = list(op.regions[0].blocks[0].arguments)
    used = [at for at, argument in enumerate(arguments) if argument in read]
    outs = [tensor.EmptyOp(list(sizes), type_).result for type_ in types]
    own_maps = [ir.AffineMap.get(count, 0, [_without(result, loop) for result in maps[at].results])
                for at in used]
    made = generic_op([op.operands[at] for at in used], outs,
                      [*own_maps, *[ir.AffineMap.get_identity(count)] * len(outs)], parallel_loops(count))
    block = made.regions[0].blocks[0]
    known = {arguments[at]: block.arguments[number] for number, at in enumerate(used)}
    with ir.InsertionPoint(block):
        _copy(inside, known)
        linalg.YieldOp([known[value] if value.type == type_ else arith.IndexCastOp(
            type_, known[value]).result for value, type_ in zip(kept, types, strict=True)])
    return list(made.results)


def _without(result: ir.AffineExpr, loop: int) -> ir.AffineExpr:
    """A loop's number where ``loop`` is not there."""
    if not isinstance(result, ir.AffineDimExpr):
        return result
    at = ir.AffineDimExpr(result).position
    return ir.AffineDimExpr.get(at - (at > loop))


def _copy(ops: Sequence[ir.Operation], known: dict[Value, Value]) -> None:
    """``ops`` on the values that ``known`` has for theirs."""
    for own in ops:
        operands = [known.get(value, value) for value in own.operands]
        if own.name == "cf.assert":
            cf.AssertOp(operands[0], own.attributes["msg"])
        else:
            known[own.results[0]] = clone(own, operands, own.results[0].type)


__all__ = ["take_out_same"]
