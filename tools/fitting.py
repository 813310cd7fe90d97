"""Tables and text on a terminal: no line is wider than it is.

A table that is too wide is cut between columns, and its parts stand below each other, each with the first
column; what is too wide even so is folded. Into a pipe, which has no width, everything goes as it is.
"""

from __future__ import annotations

import os
from copy import copy
from dataclasses import replace

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 10_000  # columns: wider than any table


def width_of(console: Console) -> int | None:
    """The columns that may be filled: the terminal's, or what COLUMNS says of a pipe; None for any number."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


def natural_width(table: Table) -> int:
    """The columns that ``table`` takes where nothing is folded."""
    console = Console(width=WIDE)
    return Measurement.get(console, console.options, table).maximum


def fitted(table: Table, width: int) -> list[Table]:
    """``table`` in parts that ``width`` columns hold; its title and caption are not in them."""
    parts: list[list[int]] = [[0]]
    for at in range(1, len(table.columns)):
        if len(parts[-1]) > 1 and natural_width(_part(table, [*parts[-1], at])) > width:
            parts.append([0])
        parts[-1].append(at)
    made = [_part(table, columns) for columns in parts]
    return [_folded(part) if natural_width(part) > width else part for part in made]


def _part(table: Table, columns: list[int]) -> Table:
    """The ``columns`` of ``table``, without what stands above and below."""
    part = copy(table)
    part.title = part.caption = None
    part.columns = [replace(table.columns[column], _index=at) for at, column in enumerate(columns)]
    return part


def _folded(table: Table) -> Table:
    """``table`` with cells that may go on in the next line, within words too."""
    for column in table.columns:
        column.no_wrap, column.overflow = False, "fold"
    return table
