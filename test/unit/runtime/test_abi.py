"""The `abi` member to the byte; what reads it is tested in test_c_abi.py."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from espalier.entry import BUFFERS
from espalier.errors import EspalierError
from espalier.runtime.abi import check_declared, describe, target_text, tolerance

PRINT = "0123456789abcdef" * 2
SIZES = {"arena": 4096, "scratch": 32, "stamps": 2, "weights": 640}
EMPTY: dict[str, Any] = {"target": {"name": "avx2"}, "inputs": [], "outputs": [], "labels": [],
                         "messages": [], "sizes": SIZES}
HEADER = b"ESPA\x05\0\0\0" + PRINT.encode() + struct.pack("<5Qd", 4096, 0, 32, 2, 640, 1e-4)
TARGET = b"\x04\0\0\0avx2\0\0\0\0"


def tensor(shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"name": "x", "shape": shape, "dtype": dtype}


def test_no_tensors() -> None:
    assert describe(EMPTY, PRINT) == HEADER + bytes(24) + TARGET


def test_tensors_and_strings() -> None:
    manifest = {**EMPTY, "inputs": [tensor([1, 3])], "outputs": [tensor([-1], "bool")],
                "labels": ["start", "lay"], "messages": ["é"]}
    assert describe(manifest, PRINT) == b"".join([
        HEADER, struct.pack("<6I", 0, 1, 1, 2, 1, 0), TARGET,
        struct.pack("<2I8q", 1, 2, 1, 3, 1, 1, 1, 1, 1, 1), b"\x01\0\0\0x\0\0\0",
        struct.pack("<2I8q", 12, 1, -1, 1, 1, 1, 1, 1, 1, 1), b"\x01\0\0\0x\0\0\0",
        b"\x05\0\0\0start\0\0\0", b"\x03\0\0\0lay\0", b"\x02\0\0\0\xc3\xa9\0\0"])


def test_sequential_and_a_free_length() -> None:
    found = describe({**EMPTY, "sizes": {**SIZES, "sequential": 1, "arena_per_step": 7}}, PRINT)
    assert found[40:56] == struct.pack("<2Q", 4096, 7)
    assert found[88:92] == b"\x01\0\0\0"


@pytest.mark.parametrize("bad", [tensor([1] * 9), tensor([1], "complex64")])
def test_tensors_that_c_cannot_take(bad: dict[str, Any]) -> None:
    with pytest.raises(EspalierError, match=r"'x': expected up to 8 dimensions of .*, found [19] of"):
        describe({**EMPTY, "inputs": [bad]}, PRINT)


def test_target_and_tolerance() -> None:
    target = {"name": "aarch64", "triple": "aarch64-linux-gnu", "cpu": "cortex-a76", "precision": "fp16"}
    assert target_text({"target": target}) == "aarch64-linux-gnu cortex-a76"
    assert target_text(EMPTY) == "avx2"
    assert (tolerance({"target": target}), tolerance(EMPTY)) == (2e-2, 1e-4)
    with pytest.raises(EspalierError, match="unknown precision 'fp8': known are fp32, fp16"):
        tolerance({"target": {**target, "precision": "fp8"}})


def test_what_code_declares_is_compared() -> None:
    manifest = {**EMPTY, "inputs": [tensor([1, -1])], "outputs": [tensor([], "uint8")], "labels": ["a", "b"]}
    declared = {"arguments": list(BUFFERS), **SIZES, "input_types": ["1x?xf32"], "output_types": ["i8"],
                "labels": ["a", "b"]}
    check_declared(declared, manifest)
    for change in ({"arena": 4097}, {"arena_per_step": 1}, {"sequential": 1}, {"weights": 0},
                   {"messages": ["x"]}, {"labels": ["a"]}, {"input_types": []}, {"input_types": ["1x2xf32"]},
                   {"output_types": ["f32"]}, {"arguments": ["inputs"]}):
        with pytest.raises(EspalierError, match="the model is damaged: its manifest says") as caught:
            check_declared({**declared, **change}, manifest)
        assert "\n" not in str(caught.value)
    with pytest.raises(EspalierError, match=r"says buffers .inputs, scratch, .*its code has .None"):
        check_declared({}, manifest)
