"""The one module that imports the MLIR bindings.

Everything else in Espalier writes ``from .mlir import ir``. By default the bindings come from the
``torch_mlir`` wheel; set the environment variable ``ESPALIER_MLIR_PACKAGE`` (to ``mlir``, say) before the
first import to live in another compiler's process, on that compiler's bindings. ``mlir_ir.pyi`` says which
types ``ir`` has.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...errors import EspalierError

PACKAGE = os.environ.get("ESPALIER_MLIR_PACKAGE", "torch_mlir")
NEEDED = ("ir", "passmanager", "rewrite", "dialects.irdl", "dialects.ext")


class MissingBindings(EspalierError, ImportError):
    """The bindings package is not there, or lacks what we need; the message says what."""


def bindings(name: str) -> Any:
    """The module ``name`` of the bindings package, e.g. ``bindings("dialects.vector")``; ``MissingBindings``
    where there is none."""
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except ImportError as error:
        raise _missing(name) from error


def package() -> ModuleType:
    """The bindings package itself (its folder holds ``_mlir_libs`` and the opt tool)."""
    return importlib.import_module(PACKAGE)


def _missing(*others: str) -> MissingBindings:
    """What the package lacks of ``NEEDED``, and of ``others``."""
    try:
        package()
    except ImportError as error:
        return MissingBindings(f"no MLIR bindings: the package '{PACKAGE}' cannot be imported ({error}); "
                               f"install torch-mlir, or set ESPALIER_MLIR_PACKAGE to a package that is there")
    lacking = []
    for name in dict.fromkeys((*NEEDED, *others)):
        try:
            importlib.import_module(f"{PACKAGE}.{name}")
        except ImportError as error:
            lacking.append(f"{name} ({error})")
    return MissingBindings(f"the package '{PACKAGE}' lacks {', '.join(lacking)} of MLIR's Python bindings; "
                           f"unset ESPALIER_MLIR_PACKAGE or name a package that has them, such as torch_mlir")


if TYPE_CHECKING:
    from . import mlir_ir as ir
else:
    ir = bindings("ir")
passmanager: Any = bindings("passmanager")
rewrite: Any = bindings("rewrite")
ext: Any = bindings("dialects.ext")
