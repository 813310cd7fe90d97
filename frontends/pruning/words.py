"""The end of a message about an unknown word."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def hint(word: str, known: Sequence[str]) -> str:
    """``: did you mean X?``, or the words there are where none is near."""
    close = get_close_matches(word, known, 1)
    return f": did you mean {close[0]}?" if close else f": expected one of {', '.join(known)}"
