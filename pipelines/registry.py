"""The passes and named pipelines that exist, by name; a pass's module is imported when first asked for.

Our passes follow the stem rule of ``sparse_dialect/passes.py``. Third parties add theirs with an entry point
of the group ``espalier.passes`` (``"my-pass" = "package.module:MyPass"``). Two of one name are an error.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path

from ..errors import did_you_mean
from ..sparse_dialect import transforms
from ..sparse_dialect.errors import EspalierError
from ..sparse_dialect.lowering import buffers, cpu, generic, gpu, loads, reference
from ..sparse_dialect.passes import Pass
from .named import PIPELINES, Named

GROUP = "espalier.passes"
PREFIX = "sparse-"


class Registry:
    """Pass classes and named pipelines by name."""

    def __init__(self) -> None:
        self._loaders: dict[str, Callable[[], type[Pass]]] = {}
        self.pipelines: dict[str, Named] = {}

    def names(self) -> list[str]:
        """All pass names, in registration (for ours: pipeline) order."""
        return list(self._loaders)

    def __contains__(self, name: object) -> bool:
        return name in self._loaders

    def add(self, name: str, load: Callable[[], type[Pass]]) -> None:
        """Registers a pass under ``name``; ``load`` imports and returns its class, when first needed."""
        if name in self._loaders or name in self.pipelines:
            raise EspalierError(f"the pass name '{name}' is taken: rename or uninstall one of the two")
        self._loaders[name] = load

    def add_class(self, cls: type[Pass]) -> type[Pass]:
        """Registers a pass class under its own name; usable as a decorator."""
        self.add(cls.name, lambda: cls)
        return cls

    def add_file(self, path: Path) -> None:
        """Registers every pass class that the Python file ``path`` defines."""
        spec = importlib.util.spec_from_file_location(f"espalier_plugin_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise EspalierError(f"cannot load passes from {path}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # dataclasses look their own module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise EspalierError(f"cannot load passes from {path}: {type(error).__name__}: {error}") from error
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module.__name__:
                self.add_class(value)

    def add_pipeline(self, name: str, pipeline: Named) -> None:
        """Registers a named pipeline."""
        if name in self._loaders or name in self.pipelines:
            raise EspalierError(f"the pipeline name '{name}' is taken: rename or uninstall one of the two")
        self.pipelines[name] = pipeline

    def get(self, name: str) -> type[Pass]:
        """The pass class called ``name``; raises ``EspalierError`` listing close names."""
        if name not in self._loaders:
            raise EspalierError(f"unknown pass '{name}'{suggestion(name, [*self._loaders, *self.pipelines])}")
        try:
            cls = self._loaders[name]()
        except (ImportError, AttributeError) as error:
            raise EspalierError(f"pass '{name}' cannot be loaded: {error}") from error
        if cls.name != name:
            raise EspalierError(f"the pass registered as '{name}' calls itself '{cls.name}'")
        return cls


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean a or b?``, or nothing when no name is close."""
    meant = did_you_mean(name, known)
    return f"; {meant}" if meant else ""


@functools.cache
def default_registry() -> Registry:
    """Our passes and pipelines, and those of installed packages."""
    registry = Registry()
    for package in (transforms, reference, cpu, gpu, loads, generic, buffers):
        for stem in package.PASSES:
            registry.add(PREFIX + stem, functools.partial(_load_stem, package.__name__, stem))
    for entry in entry_points(group=GROUP):
        registry.add(entry.name, entry.load)
    for name, pipeline in PIPELINES.items():
        registry.add_pipeline(name, pipeline)
    return registry


def _load_stem(package: str, stem: str) -> type[Pass]:
    module = importlib.import_module(f"{package}.{stem.replace('-', '_')}")
    cls: type[Pass] = getattr(module, "".join(part.capitalize() for part in stem.split("-")) + "Pass")
    return cls
