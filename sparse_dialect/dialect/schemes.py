"""Scheme attributes, one a class in ``schemes/``, and their way to Python values and back.

``sparse_dialect/schemes`` knows nothing of MLIR; here its frozen values become
``#sparse.pattern<[3, 3], [[0, 1, 3, 4]]>``, and back.
"""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from ..errors import op_error
from ..ir.mlir import ir
from ..ir.values import i64, integer_array, integers
from ..schemes import Bcr, Connectivity, Dense, Kgs, Pattern, Scheme, Unstructured
from .dialect import Sparse


class UndetectedAttr(Sparse.Attribute, name="undetected"):
    """No scheme yet: ``sparse-detect-schemes`` replaces it."""


class DenseAttr(Sparse.Attribute, name="dense"):
    """Nothing is cut."""


class UnstructuredAttr(Sparse.Attribute, name="unstructured"):
    """Zeros anywhere (CSR)."""


class ConnectivityAttr(Sparse.Attribute, name="connectivity"):
    """Whole kernels are kept or cut (PatDNN, section on connectivity pruning)."""

    kernel: ir.ArrayAttr


class PatternAttr(Sparse.Attribute, name="pattern"):
    """Every kernel keeps the places of one library pattern, or none; places count row-major in ``kernel``."""

    kernel: ir.ArrayAttr
    library: ir.ArrayAttr


class BcrAttr(Sparse.Attribute, name="bcr"):
    """Every ``rows`` x ``columns`` block of the matrix cuts whole rows and columns (BCR; GRIM)."""

    rows: ir.IntegerAttr
    columns: ir.IntegerAttr


class KgsAttr(Sparse.Attribute, name="kgs"):
    """The kernels of every group of ``filters`` x ``channels`` keep the same places (KGS; RT3D)."""

    filters: ir.IntegerAttr
    channels: ir.IntegerAttr
    kernel: ir.ArrayAttr


SCHEMES = (UndetectedAttr, DenseAttr, UnstructuredAttr, ConnectivityAttr, PatternAttr, BcrAttr, KgsAttr)


def scheme_attribute(scheme: Scheme) -> ir.Attribute:
    """The attribute that carries ``scheme`` (needs a current context)."""
    match scheme:
        case Pattern():
            library = ir.ArrayAttr.get([integer_array(places) for places in scheme.library])
            return PatternAttr.get(integer_array(scheme.kernel), library)
        case Kgs():
            return KgsAttr.get(i64(scheme.filters), i64(scheme.channels),
                                       integer_array(scheme.kernel))
        case Bcr():
            return BcrAttr.get(i64(scheme.rows), i64(scheme.columns))
        case Connectivity():
            return ConnectivityAttr.get(integer_array(scheme.kernel))
        case Unstructured():
            return UnstructuredAttr.get()
        case Dense():
            return DenseAttr.get()
    raise TypeError(f"no attribute for scheme {scheme!r}")


def scheme_of(op: ir.Operation) -> Scheme:
    """The scheme of an op; raises ``PassError`` while it is undetected."""
    attribute = op.operation.attributes["scheme"]
    match attribute:
        case PatternAttr():
            library = tuple(tuple(integers(places)) for places in ir.ArrayAttr(attribute.library))
            return Pattern(tuple(integers(attribute.kernel)), library)
        case KgsAttr():
            return Kgs(ir.IntegerAttr(attribute.filters).value,
                               ir.IntegerAttr(attribute.channels).value, tuple(integers(attribute.kernel)))
        case BcrAttr():
            return Bcr(ir.IntegerAttr(attribute.rows).value, ir.IntegerAttr(attribute.columns).value)
        case ConnectivityAttr():
            return Connectivity(tuple(integers(attribute.kernel)))
        case UnstructuredAttr():
            return Unstructured()
        case DenseAttr():
            return Dense()
    found = "#sparse.undetected" if isinstance(attribute, UndetectedAttr) else str(attribute)
    raise op_error(op, "a sparsity scheme", found, "run sparse-detect-schemes first")
