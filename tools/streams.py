"""What the programs write to: terminals and pipes of any encoding."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def take_any_text() -> None:
    """Has stdout and stderr write what their encoding lacks as escapes (``\\xe9``), which else is an error:
    names come from files."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # else None, or somebody's own
            stream.reconfigure(errors="backslashreplace")
