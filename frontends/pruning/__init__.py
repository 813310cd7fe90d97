"""Pruning: one-shot projection, training that prunes (``Sparsifier``), and folding of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .library import extract_library
    from .recipe import Recipe, load_recipe
    from .search.search import search_rates
    from .sparsifier import Sparsifier

__all__ = ["Recipe", "Sparsifier", "extract_library", "load_recipe", "search_rates"]

_LAZY = {"Recipe": "recipe", "Sparsifier": "sparsifier", "extract_library": "library",
         "load_recipe": "recipe", "search_rates": "search.search"}


def __getattr__(name: str) -> Any:
    """Public names on first use: ``--prune`` needs none of what training does."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
