"""Padding by less than nothing, in torch-mlir's dialect: a slice, and padding of what is left.

    %y = torch.aten.constant_pad_nd %x, [-1, 2]   ->   %s = torch.aten.slice.Tensor %x, 3, 1, 5, 1
                                                       %y = torch.aten.constant_pad_nd %s, [0, 2]

``sparse-split-crops`` comes too late for it: among torch-mlir's passes upstream's canonicalization merges
such padding with a convolution's behind it (-1, then 1, make 0).
"""

from __future__ import annotations

import re

from ...errors import EspalierError
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.ir.walk import blocks
from .operators import is_made_by, number

SIZES = re.compile(r"!torch\.vtensor<\[([^\]]*)\]")
END = 2**63 - 1  # of a slice: the end of a dimension whose size only the run knows


def split_crops(module: ir.Module) -> None:
    """Splits every ``constant_pad_nd`` that crops, in place. Raises ``EspalierError`` where it takes away
    more than there is."""
    with module.context:
        for op in [view.operation for block in blocks(module.operation) for view in block.operations]:
            if op.name == "torch.aten.constant_pad_nd" and min(_amounts(op), default=0) < 0:
                with ir.InsertionPoint(op), op.location:
                    _split(op)


def _amounts(op: ir.Operation) -> list[int]:
    """The known amounts, the last dimension's first; those that the run gives count as nothing."""
    listed = op.operands[1].owner
    values = listed.operands if is_made_by(listed, "torch.prim.ListConstruct") else ()
    return [ir.IntegerAttr(value.owner.attributes["value"]).value
            if is_made_by(value.owner, "torch.constant.int") else 0 for value in values]


def _split(op: ir.Operation) -> None:
    amounts, listed = _amounts(op), op.operands[1].owner
    for turn in range(len(amounts) // 2):
        low, high = (max(-amount, 0) for amount in amounts[2 * turn : 2 * turn + 2])
        if low or high:
            op.operands[0] = _sliced(op.operands[0], turn, low, high)
    padded = [number(0) if amount < 0 else value
              for amount, value in zip(amounts, listed.operands, strict=True)]
    op.operands[1] = ir.Operation.create(listed.name, [op.operands[1].type], padded).results[0]


def _sliced(x: ir.Value, turn: int, low: int, high: int) -> ir.Value:
    """``x`` without ``low`` places at the beginning and ``high`` at the end of its ``turn``th dimension from
    the last."""
    text = str(x.type)
    found = SIZES.match(text)
    sizes = found[1].split(",") if found else []
    if turn >= len(sizes):
        raise EspalierError(f"cannot crop a tensor of {text}, of which too little is known")
    at = len(sizes) - 1 - turn
    end = -high or END
    if sizes[at] != "?":
        end = int(sizes[at]) - high
        if end < low:
            raise EspalierError(f"padding takes {low + high} of {sizes[at]} places away; correct its amounts")
        sizes[at] = str(end - low)
    type_ = ir.Type.parse(SIZES.sub(f"!torch.vtensor<[{','.join(sizes)}]", text))
    numbers = [number(value) for value in (at, low, end, 1)]
    return ir.Operation.create("torch.aten.slice.Tensor", [type_], [x, *numbers]).results[0]


__all__ = ["split_crops"]
