"""Errors that a user can act on: one message, no traceback.

Every message names the operation (or file), says what was expected, what was found, and what to do.
"""

from __future__ import annotations

from ..errors import EspalierError
from .ir.mlir import ir

__all__ = ["EspalierError", "PassError", "location_text", "op_error"]


class PassError(EspalierError):
    """A pass met IR that it cannot handle; ``location`` is the MLIR location's text."""

    def __init__(self, message: str, location: str = "") -> None:
        super().__init__(f"{location}: {message}" if location else message)
        self.message, self.location = message, location


def op_error(op: ir.Operation, expected: str, found: str, hint: str = "") -> PassError:
    """The error for ``op``: names it and its location, states ``expected``, ``found`` and the next step."""
    operation = op.operation
    text = f"'{operation.name}' expected {expected}, found {found}"
    return PassError(text + (f"; {hint}" if hint else ""), location_text(operation.location))


def location_text(location: ir.Location) -> str:
    """An MLIR location without its ``loc(...)`` wrapper: ``"file.mlir":3:5`` or ``unknown``."""
    text = str(location)
    return text[4:-1] if text.startswith("loc(") and text.endswith(")") else text
