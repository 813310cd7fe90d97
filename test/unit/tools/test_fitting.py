"""Tables that are cut between columns: every word stays whole where its column has room."""

from __future__ import annotations

import io

import pytest
from espalier.tools.fitting import fitted, natural_width
from rich import box
from rich.console import Console
from rich.table import Table

WORDS = ("device", "llvmpipe Mesa", "1.3.230", "software", "generic, adreno")


def table() -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number in range(len(WORDS)):
        made.add_column(str(number), overflow="fold")
    made.add_row(*WORDS)
    return made


@pytest.mark.parametrize("width", range(26, 80))
def test_words_stay_whole(width: int) -> None:
    printed = io.StringIO()
    parts = fitted(table(), width)
    for part in parts:
        Console(width=width, file=printed).print(part)
    lines = printed.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert all(word in printed.getvalue() for word in WORDS)
    assert len(parts) == 1 or natural_width(table()) > width
