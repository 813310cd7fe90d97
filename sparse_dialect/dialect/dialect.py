"""The ``sparse`` dialect itself: what the ops and attributes of this package belong to.

Defined in Python on the bindings' ``dialects.ext``; ``irdl_text`` gives the IRDL that any ``mlir-opt
--irdl-file`` reads.
"""

# The metaclass of the bindings' Dialect takes its name, which mypy cannot see:
# mypy: disable-error-code="call-arg"

from __future__ import annotations

import threading

from ..ir.mlir import ext, ir

# The bindings keep what they load, and the operations' classes, for the whole process.
_ONE_AT_A_TIME = threading.Lock()


class Sparse(ext.Dialect, name="sparse"):
    """The dialect; ``register_dialect`` loads it into a context."""


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
    """The dialect as IRDL text, for ``mlir-opt --irdl-file=FILE`` of any compiler."""
    from .schemes import scheme_classes  # needs this module

    scheme_classes()
    with ir.Context():
        return str(Sparse._emit_module())
