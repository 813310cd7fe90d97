"""Text from files on a terminal."""

from __future__ import annotations

from rich.text import Text

from ..errors import printable


def plain(text: object, style: str = "") -> Text:
    """A table's cell: as it is, without control characters, which a terminal would obey."""
    return Text(printable(text), style=style)
