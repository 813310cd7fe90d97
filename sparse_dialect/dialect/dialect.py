"""The ``sparse`` dialect itself: what the ops and attributes of this package belong to.

Defined in Python on the bindings' ``dialects.ext``; ``irdl_text`` gives the IRDL that any ``mlir-opt
--irdl-file`` reads.
"""

# The metaclass of the bindings' Dialect takes its name, which mypy cannot see:
# mypy: disable-error-code="call-arg"

from __future__ import annotations

import sys
import threading

from ..ir.mlir import PACKAGE, ext, ir

# Raised when an operation's declaration changes; text of an older version may then not parse.
VERSION = 1

# The bindings keep what they load, and the operations' classes, for the whole process.
_ONE_AT_A_TIME = threading.Lock()


class Sparse(ext.Dialect, name="sparse"):
    """The dialect; ``register_dialect`` loads it into a context."""


# For every operation that Python sees, the bindings import the module that is called like its dialect, and do
# not remember where there is none: a search of the file system each time.
sys.modules.setdefault(f"{PACKAGE}.dialects.{Sparse.DIALECT_NAMESPACE}", sys.modules[__name__])


def register_dialect(context: ir.Context) -> None:
    """Loads ``sparse`` into ``context``, once; turns off multithreading: Python verifiers need that. Several
    threads may call it, each for a context of its own."""
    from .schemes import scheme_classes  # needs this module

    with _ONE_AT_A_TIME:
        scheme_classes()  # those that were defined since
        context.enable_multithreading(False)
        if not context.is_dialect_loaded(Sparse.DIALECT_NAMESPACE):
            with context:
                Sparse.load()


def irdl_text() -> str:
    """The dialect as IRDL text, for ``mlir-opt --irdl-file=FILE`` of any compiler; its first line says the
    version of the operations."""
    from .schemes import scheme_classes  # needs this module

    scheme_classes()
    with ir.Context():
        return f"// The dialect sparse, version {VERSION}.\n{Sparse._emit_module()}"
