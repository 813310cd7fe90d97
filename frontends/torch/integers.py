"""Whole numbers stay whole: torch-mlir takes them through floats, which hold 24 or 53 bits.

    aten.neg %x              ->   aten.rsub %x, 0
    x // y  (floor)          ->   the quotient towards 0, one less where the remainder has the other sign
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten


def negative(x: torch.Tensor) -> Any:
    """``aten.neg``."""
    return NotImplemented if not _is_whole(x.dtype) else torch.zeros_like(x) - x


def floor_divide(x: Any, y: Any) -> Any:
    """``aten.floor_divide`` and ``aten.div`` of whole numbers, rounded down."""
    return divide(x, y, rounding_mode="floor")


def divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    """``aten.div.Tensor_mode`` and ``aten.div.Scalar_mode``."""
    dtype = torch.result_type(x, y)
    if not _is_whole(dtype) or rounding_mode is None:
        return NotImplemented
    if rounding_mode == "trunc" and isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return NotImplemented
    x, y = (value.to(dtype) if isinstance(value, torch.Tensor) else torch.full((), value, dtype=dtype)
            for value in (x, y))
    quotient = aten.div.Tensor_mode(x, y, rounding_mode="trunc")
    if rounding_mode == "trunc" or dtype == torch.uint8:
        return quotient
    rest = x - quotient * y
    return quotient - ((rest != 0) & ((rest < 0) != (y < 0))).to(dtype)


def remainder_of_number(number: Any, y: torch.Tensor) -> torch.Tensor:
    """``aten.remainder.Scalar_Tensor``."""
    return aten.remainder.Tensor(torch.full((), number, dtype=torch.result_type(number, y)), y)


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Operator -> what it becomes."""
    shifts = {aten.__lshift__.Tensor: aten.bitwise_left_shift.Tensor,
              aten.__rshift__.Tensor: aten.bitwise_right_shift.Tensor}
    return {aten.neg.default: negative, aten.floor_divide.default: floor_divide,
            aten.div.Tensor_mode: divide, aten.div.Scalar_mode: divide,
            aten.remainder.Scalar_Tensor: remainder_of_number, **shifts}


__all__ = ["decompositions"]
