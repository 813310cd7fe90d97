"""Weights behind resources: each context has its own."""

from __future__ import annotations

import numpy as np
from espalier.sparse_dialect.ir.constants import SMALL, attribute_of, constant, read_attribute
from espalier.sparse_dialect.ir.mlir import ir


def test_a_parsed_module_has_its_own_weights_under_a_key_that_is_taken_elsewhere() -> None:
    arrays = [np.full(2 * SMALL, number, np.float32) for number in (1, 2)]
    modules = []
    for array in arrays:
        with ir.Context(), ir.Location.unknown():
            module = ir.Module.create()
            with ir.InsertionPoint(module.body):
                constant(array)
            modules.append(module)
    texts = [str(module) for module in modules]  # both name their weights constant_0
    again = [ir.Module.parse(text, ir.Context()) for text in texts]
    for module, array in zip([*modules, *again], arrays * 2, strict=True):
        read = read_attribute(module.body.operations[0].operation.attributes["value"])
        np.testing.assert_array_equal(read, array)


def test_small_arrays_can_be_resources() -> None:
    with ir.Context(), ir.Location.unknown():
        array = np.arange(4, dtype=np.uint8)
        attribute = attribute_of(array, "weights", small=0)
        assert str(attribute) == "dense_resource<weights_0> : tensor<4xi8>"
        np.testing.assert_array_equal(read_attribute(attribute), array)
