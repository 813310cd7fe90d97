"""Scheme attributes, one a class in ``schemes/``, made from the fields of its dataclass.

``sparse_dialect/schemes`` knows nothing of MLIR; here its frozen values become
``#sparse.pattern<[3, 3], [[0, 1, 3, 4]]>``, and back. A scheme that is defined later (a plug-in's) has its
attribute in every context that the dialect is loaded into from then on.
"""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

import inspect
from typing import Any

from ..errors import EspalierError, op_error
from ..ir.mlir import ir
from ..schemes import SCHEMES, Scheme
from .dialect import Sparse
from .values import decoded, dictionary_of, field_kinds


class UndetectedAttr(Sparse.Attribute, name="undetected"):
    """No scheme yet: ``sparse-detect-schemes`` replaces it."""


_classes: dict[str, Any] = {}  # the attribute class of each scheme, by the scheme's name


def scheme_classes() -> dict[str, Any]:
    """The attribute class of every scheme that is defined by now, by the scheme's name."""
    for name, scheme in SCHEMES.items():
        if name not in _classes:
            body = {"__annotations__": field_kinds(scheme), "__doc__": inspect.getdoc(scheme),
                    "__module__": __name__}
            _classes[name] = type(f"{scheme.__name__}Attr", (Sparse.Attribute,), body, name=name)
    return _classes


def scheme_attribute(scheme: Scheme) -> ir.Attribute:
    """The attribute that carries ``scheme`` (needs a current context)."""
    return scheme_classes()[scheme.name].get(*dictionary_of(scheme).values())


def is_scheme(attribute: Any) -> bool:
    """Whether ``attribute`` is a scheme, or says that there is none yet."""
    return isinstance(attribute, (UndetectedAttr, *scheme_classes().values()))


def scheme_from(attribute: Any) -> Scheme | None:
    """The scheme behind ``attribute``, None for another attribute; raises ``EspalierError`` or ``TypeError``
    where the scheme itself refuses the parameters."""
    for name, kind in scheme_classes().items():
        if isinstance(attribute, kind):
            return SCHEMES[name](*(decoded(parameter) for parameter in attribute.params))
    return None


def scheme_of(op: ir.Operation) -> Scheme:
    """The scheme of an op; raises ``PassError`` while it is undetected."""
    attribute = op.operation.attributes["scheme"]
    scheme = scheme_from(attribute)
    if scheme is None:
        found = "#sparse.undetected" if isinstance(attribute, UndetectedAttr) else str(attribute)
        raise op_error(op, "a sparsity scheme", found, "run sparse-detect-schemes first")
    return scheme


def scheme_complaint(attribute: Any, weight: list[int]) -> str | None:
    """What is wrong with a scheme for a weight of that shape, or None."""
    try:
        scheme = scheme_from(attribute)
    except (EspalierError, TypeError) as error:
        return f"expected a scheme that is possible, found {attribute}: {error}"
    kernel = getattr(scheme, "kernel", None)
    if kernel is not None and list(kernel) != weight[2:]:
        return f"expected a scheme for kernels of {weight[2:]}, found {attribute}"
    return None


scheme_classes()
