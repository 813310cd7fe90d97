"""The one module that imports the MLIR bindings.

Everything else in Espalier writes ``from .mlir import ir``. By default the bindings come from the
``torch_mlir`` wheel; set the environment variable ``ESPALIER_MLIR_PACKAGE`` (to ``mlir``, say) before the
first import to live in another compiler's process, on that compiler's bindings.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

PACKAGE = os.environ.get("ESPALIER_MLIR_PACKAGE", "torch_mlir")


def bindings(name: str) -> Any:
    """The module ``name`` of the bindings package, e.g. ``bindings("dialects.vector")``."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def package() -> ModuleType:
    """The bindings package itself (its folder holds ``_mlir_libs`` and the opt tool)."""
    return importlib.import_module(PACKAGE)


ir: Any = bindings("ir")
passmanager: Any = bindings("passmanager")
rewrite: Any = bindings("rewrite")
ext: Any = bindings("dialects.ext")
