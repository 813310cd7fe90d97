"""Data and metrics to train with: ``--data espalier.frontends.tasks:fashion_mnist``; one file a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cifar import cifar10
    from .clips import moving_clothes
    from .fashion import fashion_mnist
    from .handwritten import digits
    from .images import image_folder
    from .speech import timit
    from .task import Task
    from .video import ucf101
    from .words import cmudict

__all__ = ["Task", "cifar10", "cmudict", "digits", "fashion_mnist", "image_folder", "moving_clothes", "timit",
           "ucf101"]

_LAZY = {"Task": "task", "cifar10": "cifar", "cmudict": "words", "digits": "handwritten",
         "fashion_mnist": "fashion", "image_folder": "images", "moving_clothes": "clips", "timit": "speech",
         "ucf101": "video"}


def __getattr__(name: str) -> Any:
    """Public names on first use: a task's file may need a package of its own."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
