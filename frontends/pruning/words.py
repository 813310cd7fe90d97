"""The end of a message about an unknown word."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import did_you_mean


def hint(word: str, known: Sequence[str]) -> str:
    """``: did you mean X?``, or the words there are where none is near."""
    return ": " + (did_you_mean(word, known, 1) or f"expected one of {', '.join(known)}")
