"""What upstream's fusion has drawn into a product of matrices is taken out again, to be computed once; what
only moves elements goes into one.

    C[m, n] += f(A[m, k]) * B[k, n]     f for every m, n and k
    -> T[m, k] = f(A[m, k])             f for every m and k
       C[m, n] += T[m, k] * B[k, n]

    T = transpose B ; C = linalg.matmul A, T     -> C[m, n] += A[m, k] * B[n, k]     packed from where it lies
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from ...ir.values import element_of
from ...ir.walk import blocks, operations
from .body import clone
from .generic_op import generic_op, parallel_loops
from .memory import Value

linalg: Any = bindings("dialects.linalg")
tensor: Any = bindings("dialects.tensor")

PLAIN = ("arith.", "math.")
# the dimensions of both factors and of the result, by loop; the last loop adds up
NAMED = {"linalg.matmul": ((0, 2), (2, 1), (0, 1)), "linalg.batch_matmul": ((0, 1, 3), (0, 3, 2), (0, 1, 2))}


@dataclass(frozen=True)
class _Factor:
    """One side of a product: a value of the body, the operations that compute it in order, the numbers of the
    inputs that it is computed from, and the loops that these move with."""

    value: Value
    ops: tuple[ir.Operation, ...]
    inputs: tuple[int, ...]
    loops: frozenset[int]


def split_products(function: ir.Operation) -> int:
    """Splits the products of ``function``; how many there were."""
    count = 0
    for view in operations(function, linalg.GenericOp):
        op = view.operation
        factors = _factors(op)
        if factors is not None:
            _split(op, factors)
            count += 1
    return count


def _maps(op: ir.Operation) -> list[ir.AffineMap]:
    return [ir.AffineMapAttr(each).value for each in ir.ArrayAttr(op.attributes["indexing_maps"])]


def _factors(op: ir.Operation) -> list[_Factor] | None:
    """Both sides of the product that ``op`` adds up, where one of them is computed for each element; else
    None."""
    block = op.regions[0].blocks[0]
    end = [view.operation for view in block.operations][-1]
    if len(op.results) != 1 or "reduction" not in str(op.attributes["iterator_types"]):
        return None
    out = list(block.arguments)[-1]
    total = _owner(end.operands[0], block)
    if total is None or total.name != "arith.addf" or out not in list(total.operands):
        return None
    term = next((value for value in total.operands if value != out), out)
    product = _owner(term, block)
    if product is None or product.name != "arith.mulf":
        return None
    found = [_factor(op, value) for value in product.operands]
    left, right = found
    if left is None or right is None or set(left.inputs) & set(right.inputs):
        return None
    if not (left.ops or right.ops) or not (left.loops - right.loops and right.loops - left.loops):
        return None
    return [left, right]


def _factor(op: ir.Operation, value: Value) -> _Factor | None:
    """What ``value`` is computed from; None where that is no arithmetic on static inputs."""
    block = op.regions[0].blocks[0]
    arguments = list(block.arguments)
    needed, ahead = {value}, [value]
    while ahead:
        owner = _owner(ahead.pop(), block)
        if owner is None:
            continue
        if not owner.name.startswith(PLAIN) or list(owner.regions):
            return None
        ahead += [operand for operand in owner.operands if operand not in needed]
        needed |= set(owner.operands)
    ops = tuple(view.operation for view in block.operations
                if any(result in needed for result in view.operation.results))
    inputs = tuple(at for at, argument in enumerate(arguments) if argument in needed)
    types = [op.operands[at].type for at in inputs]
    if not inputs or arguments[-1] in needed or not all(
            isinstance(type_, ir.RankedTensorType) and type_.has_static_shape for type_ in types):
        return None
    results = [result for at in inputs for result in _maps(op)[at].results]
    if not all(isinstance(result, ir.AffineDimExpr | ir.AffineConstantExpr) for result in results):
        return None
    loops = frozenset(ir.AffineDimExpr(result).position for result in results
                      if isinstance(result, ir.AffineDimExpr))
    return _Factor(value, ops, inputs, loops)


def _owner(value: Value, block: ir.Block) -> ir.Operation | None:
    """The operation of ``block`` that gives ``value``."""
    if isinstance(value.owner, ir.Block) or value.owner.operation.block != block:
        return None
    return value.owner.operation


def _split(op: ir.Operation, factors: Sequence[_Factor]) -> None:
    """Computes ``factors`` by operations of their own, the one of the result's rows last, so that it can run
    with the product over the same rows (``row_groups``), and multiplies what they give."""
    maps = _maps(op)
    columns = [ir.AffineDimExpr(result).position for result in maps[-1].results
               if isinstance(result, ir.AffineDimExpr)][-1:]
    made: dict[int, tuple[Value, ir.AffineMap]] = {}
    with ir.InsertionPoint(op), op.location:
        for at in sorted(range(len(factors)), key=lambda at: factors[at].loops.isdisjoint(columns)):
            factor = factors[at]
            first = factor.inputs[0]
            made[at] = _apart(op, factor) if factor.ops else (op.operands[first], maps[first])
        operands, used = zip(*(made[at] for at in range(len(factors))), strict=True)
        new = _product(operands, op.operands[len(op.operands) - 1], [*used, maps[-1]],
                       ir.ArrayAttr(op.attributes["iterator_types"]))
    op.results[0].replace_all_uses_with(new.results[0])
    op.erase()


def _product(factors: Sequence[Value], result: Value, maps: Sequence[ir.AffineMap],
             kinds: ir.ArrayAttr) -> ir.Operation:
    """Adds the products of both ``factors`` to ``result``."""
    new = generic_op(factors, [result], maps, kinds)
    block = new.regions[0].blocks[0]
    with ir.InsertionPoint(block):
        left, right, out = block.arguments
        term = ir.Operation.create("arith.mulf", [out.type], [left, right]).result
        linalg.YieldOp([ir.Operation.create("arith.addf", [out.type], [out, term]).result])
    return new


def _apart(op: ir.Operation, factor: _Factor) -> tuple[Value, ir.AffineMap]:
    """The tensor of all values of ``factor``, and where the product finds them in it."""
    maps, loops = _maps(op), sorted(factor.loops)
    sizes: dict[int, int] = {}
    for at in factor.inputs:
        shape = ir.RankedTensorType(op.operands[at].type).shape
        for size, result in zip(shape, maps[at].results, strict=True):
            if isinstance(result, ir.AffineDimExpr):
                sizes[ir.AffineDimExpr(result).position] = size
    empty = tensor.EmptyOp([sizes[loop] for loop in loops], factor.value.type).result
    inner = [ir.AffineMap.get(len(loops), 0, [
        ir.AffineDimExpr.get(loops.index(ir.AffineDimExpr(result).position))
        if isinstance(result, ir.AffineDimExpr) else result for result in maps[at].results])
        for at in factor.inputs]
    made = generic_op([op.operands[at] for at in factor.inputs], [empty],
                      [*inner, ir.AffineMap.get_identity(len(loops))], parallel_loops(len(loops)))
    block = made.regions[0].blocks[0]
    arguments = list(op.regions[0].blocks[0].arguments)
    known = {arguments[at]: block.arguments[number] for number, at in enumerate(factor.inputs)}
    with ir.InsertionPoint(block):
        for inner_op in factor.ops:
            known[inner_op.results[0]] = clone(
                inner_op, [known.get(value, value) for value in inner_op.operands], inner_op.results[0].type)
        linalg.YieldOp([known[factor.value]])
    place = ir.AffineMap.get(maps[0].n_dims, 0, [ir.AffineDimExpr.get(loop) for loop in loops])
    return made.results[0], place


def read_transposed(function: ir.Operation) -> int:
    """Has the products of ``function`` read matrices where they lie that were only transposed for them; how
    many did."""
    named = [view.operation for block in blocks(function) for view in block.operations
             if view.operation.name in NAMED]
    return sum(_read_transposed(op) for op in named
               if isinstance(element_of(op.results[0].type), ir.F32Type))


def _read_transposed(op: ir.Operation) -> bool:
    dims = NAMED[op.name]
    loops = max(map(max, dims)) + 1
    maps = [ir.AffineMap.get(loops, 0, [ir.AffineDimExpr.get(loop) for loop in each]) for each in dims]
    *factors, result = op.operands
    moves = [_transposition(factor) for factor in factors]
    if not any(moves):
        return False
    for at, move in enumerate(moves):
        if move is not None:
            places = [ir.AffineDimExpr(place).position for place in _maps(move)[0].results]
            maps[at] = ir.AffineMap.get(loops, 0, [maps[at].results[place] for place in places])
            factors[at] = move.operands[0]
    adds = ir.Attribute.parse("#linalg.iterator_type<reduction>")
    kinds = ir.ArrayAttr.get([*parallel_loops(loops - 1), adds])
    with ir.InsertionPoint(op), op.location:
        new = _product(factors, result, maps, kinds)
    op.results[0].replace_all_uses_with(new.results[0])
    op.erase()
    for move in moves:
        if move is not None:
            move.erase()
    return True


def _transposition(value: Value) -> ir.Operation | None:
    """The operation that gives ``value``, to one reader, where it does nothing but move elements."""
    op = None if isinstance(value.owner, ir.Block) else value.owner.operation
    if op is None or op.name != "linalg.generic" or len(list(value.uses)) != 1 or len(op.operands) != 2:
        return None
    block, (read, written) = op.regions[0].blocks[0], _maps(op)
    end = next(iter(block.operations)).operation
    moves = end.name == "linalg.yield" and end.operands[0] == block.arguments[0]
    plain = read.is_permutation and written == ir.AffineMap.get_identity(written.n_dims)
    return op if moves and plain else None


__all__ = ["read_transposed", "split_products"]
