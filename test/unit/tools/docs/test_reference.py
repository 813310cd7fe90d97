"""The pages that are written from docstrings: nothing public is left out, nothing is without words."""

from __future__ import annotations

import re

from espalier.pipelines.registry import PREFIX, default_registry
from espalier.tools.docs.reference import dialect_page, passes_page


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

