"""Values of torch-mlir's dialect: what made them, and new constants."""

from __future__ import annotations

from ...sparse_dialect.ir.mlir import ir


def is_made_by(owner: ir.Operation | ir.Block, name: str) -> bool:
    """Whether the ``owner`` of a value is an operation ``name``; that of an argument is a block."""
    return not isinstance(owner, ir.Block) and owner.name == name


def number(value: int | float) -> ir.Value:
    """A constant ``!torch.int`` or ``!torch.float`` at the insertion point."""
    kind = "float" if isinstance(value, float) else "int"
    attribute = (ir.FloatAttr.get(ir.F64Type.get(), value) if isinstance(value, float)
                 else ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value))
    return ir.Operation.create(f"torch.constant.{kind}", [ir.Type.parse(f"!torch.{kind}")],
                               attributes={"value": attribute}).results[0]


__all__ = ["is_made_by", "number"]
