"""The code blocks of a page, for a test that runs them: what a reader copies works.

    ```python                      runs, after the page's earlier blocks, in one namespace
    ```python title="own.py"       is written to that file; so is any block with a title
    ```sh                          lines that begin with ``espalier`` run as the command line does
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = re.compile(r"^```(?P<language>\w+)(?P<options>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="(?P<title>[^"]*)"')


@dataclass(frozen=True)
class Example:
    """A block of code: ``language`` as the page says, ``title`` the file that it is, or nothing; ``line`` in
    the page, from 1."""

    language: str
    title: str
    code: str
    line: int


def examples(page: str) -> Iterator[Example]:
    """The blocks of ``page`` (Markdown) in order."""
    for match in _BLOCK.finditer(page):
        title = _TITLE.search(match["options"])
        yield Example(match["language"], title["title"] if title else "", match["code"],
                      page.count("\n", 0, match.start()) + 2)


def commands(code: str) -> list[str]:
    """The command lines of a ``sh`` block, those that a backslash continues joined; without comments."""
    joined = re.sub(r"\\\n\s*", "", code)
    return [line for line in (line.partition(" #")[0].strip() for line in joined.splitlines()) if line]
