"""What MkDocs calls (``docs/hooks.py`` leads here): adds pages made from sources, fills the tutorial.

Links of the pages at the root of the repository (README, CHANGELOG, CONTRIBUTING) are turned to the site's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from .interfaces import c_page, cli_page, python_page
from .reference import dialect_page, passes_page
from .tutorial import filled

ROOT = Path(__file__).parents[2]
MADE: dict[str, Callable[[], str]] = {
    "reference/passes.md": passes_page, "reference/dialect.md": dialect_page, "reference/cli.md": cli_page,
    "reference/python.md": python_page, "reference/c.md": c_page}
SHOWN = {"readme.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
_LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds what no file in ``docs/`` holds."""
    for name, page in MADE.items():
        files.append(File.generated(config, name, content=page()))
    for name, source in SHOWN.items():
        files.append(File.generated(config, name, content=site_links((ROOT / source).read_text())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The tutorial's IR."""
    if page.file.src_uri != "tutorial.md":
        return markdown
    return filled(markdown, (ROOT / "docs" / "tutorial.mlir").read_text())


def site_links(text: str) -> str:
    """``text`` of a page at the root of the repository with links as on the site; what is no page there
    leads to the README."""
    pages = {source: name for name, source in SHOWN.items()}

    def linked(match: re.Match[str]) -> str:
        target = match["target"].removeprefix("docs/")
        target = pages.get(target, target)
        return f"]({target}{match['anchor'] or ''})" if target.endswith(".md") else "](readme.md)"

    return _LINK.sub(linked, text)
