"""The dialect from Python: packed ops with storage arrays of different types."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from espalier.sparse_dialect.dialect.dialect import VERSION, irdl_text, register_dialect
from espalier.sparse_dialect.dialect.packed import STORAGE_SLOTS, PackedLinearOp, storage_operands
from espalier.sparse_dialect.dialect.storages import storage_attribute
from espalier.sparse_dialect.ir.constants import constant, constant_of
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.values import integer_array, string_array
from espalier.sparse_dialect.schemes import Unstructured
from espalier.sparse_dialect.storage import Csr


def test_packed_linear_holds_arrays_of_different_types():
    context = ir.Context()
    register_dialect(context)
    with context, ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            packed = Csr().pack(np.eye(2, 4, dtype=np.float32), Unstructured())
            arrays = list(packed.arrays.values())
            op = PackedLinearOp(
                input=constant(np.zeros((1, 4), np.float32)),
                output=ir.RankedTensorType.get([1, 2], ir.F32Type.get()),
                packing=storage_attribute(packed.storage), storage_names=string_array(list(packed.arrays)),
                weight_shape=integer_array([2, 4]),
                activation=ir.StringAttr.get("none"), scheme=ir.Attribute.parse("#sparse.unstructured"),
                **storage_operands([constant(a) for a in arrays]))
        assert module.operation.verify()
        assert op.bias is None
        for value, array in zip(op.storage, arrays, strict=True):
            np.testing.assert_array_equal(constant_of(value), array)


def test_too_many_arrays_are_refused():
    with pytest.raises(ValueError, match=f"{STORAGE_SLOTS} slots"):
        storage_operands([None] * (STORAGE_SLOTS + 1))


OPERATIONS = {1: "ebc5dba89773f0d9"}  # a digest of each version's operations


def test_a_version_says_which_operations_there_are() -> None:
    """Other compilers keep the file: when an operation changes, raise VERSION and add the digest."""
    text = irdl_text()
    assert text.startswith(f"// The dialect sparse, version {VERSION}.\n")
    _, *operations = text.split("irdl.operation ")
    bodies = sorted(text.partition("irdl.attribute @")[0].rstrip(" {}\n") for text in operations)
    digest = hashlib.sha256("".join(bodies).encode()).hexdigest()[:16]
    assert OPERATIONS.get(VERSION) == digest
