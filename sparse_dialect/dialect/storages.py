"""How a packed op's weight is kept, as its attribute ``packing`` and back.

    packing = {storage = "fkw", filters_per_group = 1 : i64, channel_block = 32 : i64, groups = 1 : i64}

The names are those of the storage's dataclass fields (``sparse_dialect/storage``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import op_error
from ..ir.constants import dtype_of, weight_of
from ..ir.mlir import ir
from ..ir.values import integers, shape_of, strings
from ..storage import STORAGES, Packed, Storage
from .schemes import scheme_from, scheme_of
from .values import dictionary_of, from_dictionary

NAME = "storage"


def storage_attribute(storage: Storage) -> ir.DictAttr:
    """The attribute ``packing`` of ``storage`` (needs a current context)."""
    return ir.DictAttr.get({NAME: ir.StringAttr.get(storage.name), **dictionary_of(storage)})


def storage_from(attribute: Any) -> Storage:
    """The storage behind ``storage_attribute``; raises ``ValueError`` for an unknown one and wrong fields."""
    parts = {part.name: part.attr for part in ir.DictAttr(attribute)}
    name = ir.StringAttr(parts.pop(NAME)).value if NAME in parts else ""
    if name not in STORAGES:
        known = ", ".join(known for known, storage in STORAGES.items() if storage.runs)
        raise ValueError(f"unknown storage '{name}', expected one of {known}")
    storage: Storage = from_dictionary(STORAGES[name], parts)
    return storage


def storage_of(op: Any) -> Storage:
    """The storage of a packed op; raises ``PassError`` where it does not say one."""
    if "packing" not in op.operation.attributes:
        raise op_error(op, "an attribute 'packing'", "none", "pack it with sparse-compress-weights")
    try:
        return storage_from(op.operation.attributes["packing"])
    except ValueError as error:
        raise op_error(op, "a packing that is known", str(error)) from None


def packed_weight(op: Any) -> Packed:
    """The weight of a packed op, its arrays read from the constants."""
    named = zip(strings(op.storage_names), op.storage, strict=True)
    arrays = {name: weight_of(op, value) for name, value in named}
    return Packed(storage_of(op), scheme_of(op), tuple(integers(op.weight_shape)), arrays)


def storage_complaint(op: Any) -> str | None:
    """What is wrong with the storage arrays of a packed op of a valid scheme, or None."""
    names, values = strings(op.storage_names), list(op.storage)
    if len(names) != len(values):
        return f"expected one storage name for each of {len(values)} storage operands, found {names}"
    try:
        storage = storage_from(op.packing)
    except ValueError as error:
        return f"expected a packing that is known: {error}"
    scheme = scheme_from(op.scheme)
    if scheme is None:
        return f"expected a sparsity scheme, found {op.scheme}"
    found = {name: (_dtype(value), shape_of(value)) for name, value in zip(names, values, strict=True)}
    return storage.complaint(scheme, integers(op.weight_shape), found) or None


def _dtype(value: ir.Value) -> str:
    return str(np.dtype(dtype_of(ir.ShapedType(value.type).element_type)).name)
