"""The pages that are written from docstrings: nothing public is left out, nothing is without words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from espalier.pipelines.registry import PREFIX, default_registry
from espalier.tools.make_docs import dialect_page, main, passes_page


def sections(page: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.*)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_pass_is_documented() -> None:
    found = sections(passes_page())
    assert set(found) == {name for name in default_registry().names() if name.startswith(PREFIX)}
    assert [name for name, text in found.items() if len(text.split()) < 5] == []
    assert "| `sparse-to-llvm` |" in passes_page()


def test_every_operation_and_attribute_is_documented() -> None:
    found = sections(dialect_page())
    assert {"sparse.conv", "sparse.packed_conv", "sparse.gru", "sparse.pattern", "sparse.lanes"} <= set(found)
    assert [name for name, text in found.items() if len(text.split()) < 3] == []


def test_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_docs", str(tmp_path)])
    main()
    assert (tmp_path / "passes.md").read_text() == passes_page()
    assert (tmp_path / "dialect.md").read_text() == dialect_page()
