"""``sparse-expand-gathers``: lane by lane without branches, for CPUs that have no gather instruction.

    %v = vector.gather %x[%i][%places], %inside, %rest : ... into vector<4xf32>
    ->
    %p0 = vector.extract %places[0]; %m0 = vector.extract %inside[0]
    %x0 = memref.load %x[%i + (%m0 ? %p0 : 0)]; ...          // a lane that is masked out reads %x[%i]
    %v = arith.select %inside, (vector.from_elements %x0, %x1, %x2, %x3), %rest

Left alone, LLVM writes a branch for every lane of a masked gather. A scatter to all lanes becomes one store
a lane. Gathers may be masked out only where ``%x[%i]`` can be read: in ours it is the start of a plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...dialect.schedules import device_of
from ...ir.mlir import ir
from ...ir.walk import operations
from ...passes import Pass, PassContext
from ..cpu.emit.builder import arith, memref, vector


@dataclass(frozen=True)
class ExpandGathersPass(Pass):
    """
    Writes every vector.gather as scalar loads and every unmasked vector.scatter as scalar stores, where the
    target has no such instructions.
    """

    name = "sparse-expand-gathers"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        if device_of(op).costs.gathers:
            return
        with op.context:
            for access in operations(op, vector.GatherOp, vector.ScatterOp):
                inner = access.operation
                with ir.InsertionPoint(inner), inner.location:
                    if isinstance(access, vector.GatherOp):
                        inner.results[0].replace_all_uses_with(_gather(inner))
                    elif _all_lanes(inner.operands[-2]):
                        _scatter(inner)
                    else:
                        continue
                inner.erase()
                context.statistics["accesses expanded"] += 1


def _gather(op: ir.Operation) -> ir.Value:
    """The gathered vector, from scalar loads."""
    base, *indices, places, mask, rest = op.operands
    always = _all_lanes(mask)
    zero = arith.ConstantOp(ir.IndexType.get(), 0).result
    loaded = []
    for lane, place in _lanes(places):
        if not always:
            place = arith.SelectOp(_extract(mask, lane), place, zero).result
        at = arith.AddIOp(indices[-1], place).result
        loaded.append(memref.LoadOp(base, [*indices[:-1], at]).result)
    value = vector.FromElementsOp(op.results[0].type, loaded).result
    return value if always else arith.SelectOp(mask, value, rest).result


def _scatter(op: ir.Operation) -> None:
    base, *indices, places, _, values = op.operands
    for lane, place in _lanes(places):
        at = arith.AddIOp(indices[-1], place).result
        memref.StoreOp(_extract(values, lane), base, [*indices[:-1], at])


def _lanes(places: ir.Value) -> Iterator[tuple[int, ir.Value]]:
    """The lanes' numbers and places, as indices."""
    for lane in range(ir.VectorType(places.type).shape[0]):
        yield lane, arith.IndexCastOp(ir.IndexType.get(), _extract(places, lane)).result


def _extract(value: ir.Value, lane: int) -> ir.Value:
    return vector.ExtractOp(value, [], [lane]).result


def _all_lanes(mask: ir.Value) -> bool:
    """Whether ``mask`` is a constant that chooses every lane."""
    if isinstance(mask.owner, ir.Block) or mask.owner.operation.name != "arith.constant":
        return False
    known = ir.DenseElementsAttr(mask.owner.operation.attributes["value"])
    return bool(known.is_splat and ir.BoolAttr(known.get_splat_value()).value)
