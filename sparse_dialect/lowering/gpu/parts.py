"""Reads slices, paddings and concatenations as the parts that ``kernels/moves.py`` assembles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import op_error
from ...ir.mlir import ir
from .bodies import constant_number
from .kernels.moves import Part
from .layout import Tensor


def concatenated(tensors: Sequence[Tensor], along: int) -> list[Part]:
    """The parts of tensors one after the other in a dimension."""
    found, first = [], 0
    for tensor in tensors:
        rank = len(tensor.shape)
        offset = tuple(first if at == along else 0 for at in range(rank))
        found.append(_placed(tensor, tensor.shape, offset, (1,) * rank, tuple(range(rank))))
        first += tensor.shape[along] if rank else 0
    return found


def sliced(operation: Any, source: Tensor) -> Part:
    """What a tensor.extract_slice takes of ``source``."""
    begin, sizes, step = _static(operation)
    kept = _kept(operation, sizes, list(ir.RankedTensorType(operation.results[0].type).shape))
    rank = len(kept)
    return Part(source, tuple(sizes[at] for at in kept), (0,) * rank, (1,) * rank, kept, tuple(begin),
                tuple(step))


def inserted(operation: Any, source: Tensor) -> Part:
    """Where a tensor.insert_slice puts ``source``."""
    offset, sizes, stride = _static(operation)
    kept = _kept(operation, sizes, list(source.shape))
    numbers = {at: number for number, at in enumerate(kept)}
    return _placed(source, tuple(sizes), tuple(offset), tuple(stride),
                   tuple(numbers.get(at) for at in range(len(sizes))))


def padded(operation: Any, source: Tensor) -> tuple[Part, float]:
    """The part of a tensor.pad, and the number around it. Raises ``PassError`` where that is computed."""
    low = list(ir.DenseI64ArrayAttr(operation.attributes["static_low"]))
    end = list(operation.regions[0].blocks[0].operations)[-1].operation
    filling = constant_number(end.operands[0])
    if len(operation.operands) != 1 or filling is None:
        raise op_error(operation, "a padding of fixed sizes with one number", "one that is computed",
                       "there is no GPU kernel for it; compile for a CPU")
    if any(size < 0 for size in low):
        raise op_error(operation, "paddings of at least 0", str(low), "slice the tensor instead")
    rank = len(low)
    return _placed(source, source.shape, tuple(low), (1,) * rank, tuple(range(rank))), filling


def _placed(source: Tensor, sizes: tuple[int, ...], offset: tuple[int, ...], stride: tuple[int, ...],
            dimensions: tuple[int | None, ...]) -> Part:
    """The whole of ``source``, somewhere in a result."""
    rank = len(source.shape)
    return Part(source, sizes, offset, stride, dimensions, (0,) * rank, (1,) * rank)


def _static(operation: Any) -> tuple[list[int], list[int], list[int]]:
    """Offsets, sizes and strides, which must be fixed."""
    expected = 1 if operation.name == "tensor.extract_slice" else 2
    if len(operation.operands) != expected:
        raise op_error(operation, "a slice of fixed places", "places that are computed",
                       "there is no GPU kernel for it; compile for a CPU")
    offsets, sizes, strides = (list(ir.DenseI64ArrayAttr(operation.attributes[name]))
                               for name in ("static_offsets", "static_sizes", "static_strides"))
    return offsets, sizes, strides


def _kept(operation: Any, sizes: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The dimensions of a slice that the smaller tensor of ``shape`` has; it drops some of one element."""
    kept: list[int] = []
    for at, size in enumerate(sizes):
        if len(kept) < len(shape) and size == shape[len(kept)]:
            kept.append(at)
    if len(kept) != len(shape):
        raise op_error(operation, "a slice that drops dimensions of one element", str(list(sizes)),
                       "there is no GPU kernel for it; compile for a CPU")
    return tuple(kept)
