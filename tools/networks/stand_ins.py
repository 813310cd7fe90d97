"""Modules that a package imports and a network of it does not use: torchvision beside timm, audio readers.

    with stand_ins("torchvision"):
        import timm

Anything that is imported from them is an empty class, to be named, derived from and compared with. Behind the
block they are gone, so that nobody else (PyTorch's own compiler) takes them for the package.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Absent(type):
    """The class of stand-in classes: their attributes are stand-ins too."""

    def __getattr__(cls, name: str) -> Any:
        return _absent(name)


class _Module(ModuleType):
    """A module that has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return _absent(name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules called ``names``, and everything below them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: object, target: object = None) -> Any:
        """A package for every name that is ours."""
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """An empty module that has everything."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


def _absent(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name, (), {})


@contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Modules of these ``names`` can be imported inside the block, whether or not they are installed."""
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]


__all__ = ["stand_ins"]
