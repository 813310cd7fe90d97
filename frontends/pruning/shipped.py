"""Recipes that come with Espalier, at the papers' rates."""

from __future__ import annotations

from pathlib import Path

from ...errors import EspalierError
from .recipe import Recipe, load_recipe
from .words import hint

FOLDER = Path(__file__).parent / "recipes"


def shipped_recipes() -> list[str]:
    """The names that ``--recipe`` takes besides files."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_recipe(name: str) -> Recipe:
    """The recipe in the file ``name``, or the shipped one of that name."""
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
        return load_recipe(name)
    if name not in shipped_recipes():
        raise EspalierError(f"--recipe: no file '{name}', and no shipped recipe of that name"
                            f"{hint(name, shipped_recipes())}")
    return load_recipe(FOLDER / f"{name}.yaml")
