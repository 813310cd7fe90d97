"""Data and metrics to train with: ``--data espalier.frontends.tasks:fashion_mnist``; one file a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fashion import fashion_mnist
    from .task import Task

__all__ = ["Task", "fashion_mnist"]

_LAZY = {"Task": "task", "fashion_mnist": "fashion"}


def __getattr__(name: str) -> Any:
    """Public names on first use: a task's file may need a package of its own."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
