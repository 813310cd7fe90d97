"""Every pass, pipeline, operation and attribute, from docstrings: two pages of the site."""

from __future__ import annotations

import inspect
from typing import Any

from ...pipelines.options import options_of
from ...pipelines.registry import PREFIX, default_registry
from ...sparse_dialect.dialect.ops import Sparse


def passes_page() -> str:
    """Every pass of ours with its documentation and options, then the named pipelines."""
    registry = default_registry()
    parts = ["# Passes\n"]
    for name in registry.names():
        if not name.startswith(PREFIX):
            continue  # of an installed package
        cls = registry.get(name)
        parts.append(f"\n## {name}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n")
        options = list(options_of(cls).values())
        if options:
            parts.append("\n| option | default | what |\n|---|---|---|\n")
        parts += [f"| `{option.name}` | `{option.default}` | {option.help} |\n" for option in options]
    parts.append("\n# Pipelines\n\n| name | what | passes |\n|---|---|---|\n")
    for name, pipeline in registry.pipelines.items():
        elements = ", ".join(f"`{element}`" for element in pipeline.elements)
        parts.append(f"| `{name}` | {pipeline.doc} | {elements} |\n")
    return "".join(parts)


def dialect_page() -> str:
    """Every operation and attribute of the dialect with its documentation and fields."""
    parts = ["# The `sparse` dialect\n"]
    for title, base in (("Operations", Sparse.Operation), ("Attributes", Sparse.Attribute)):
        parts.append(f"\n# {title}\n")
        for cls in sorted(_named(base), key=_name):
            parts.append(f"\n## sparse.{_name(cls)}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n")
            fields = [name for name in cls.__annotations__ if not name.startswith("array_")]
            if fields:
                parts.append("\nFields: " + ", ".join(f"`{name}`" for name in fields) + ".\n")
    return "".join(parts)


def _named(base: Any) -> list[Any]:
    """The classes below ``base`` that are operations or attributes: those with a name in the dialect."""
    found = []
    for cls in base.__subclasses__():
        if _name(cls):
            found.append(cls)
        found += _named(cls)
    return found


def _name(cls: Any) -> str:
    return str(getattr(cls, "OPERATION_NAME", "") or getattr(cls, "attr_name", "")).removeprefix("sparse.")

