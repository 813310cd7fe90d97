"""The ``abi`` member of a compiled-model file: what the C runtime needs of the manifest, in binary.

Little-endian, no gaps; ``c/description.c`` reads it:

    "ESPA", u32 version, fingerprint [32]
    u64 arena, arena a step, scratch (floats a thread), stamps, weights (bytes); f64 tolerance of the check
    u32 flags (1: one thread must run it all), inputs, outputs, labels, messages
    string target
    a tensor for each input, then output: u32 dtype, u32 rank, i64 dimensions [8] (-1: free), string name
    a string for each label, then message

A string is a u32 length, its UTF-8 bytes, and one to four zeros up to a multiple of 4, so that C can use it
where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import EspalierError, unknown

VERSION = 1  # ESPALIER_ABI in c/espalier.h
MAX_RANK = 8
FREE = -1
SEQUENTIAL = 1
DTYPES = {name: code for code, name in enumerate(
    ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
     "uint64", "bool"), start=1)}
# How far a check's outputs may be from the recorded ones, as a share of the largest, by precision.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}


def describe(manifest: Mapping[str, Any], fingerprint: str) -> bytes:
    """The ``abi`` member for ``manifest``; raises ``EspalierError`` where C cannot express it."""
    sizes = manifest["sizes"]
    tensors = [*manifest["inputs"], *manifest["outputs"]]
    labels, messages = list(manifest["labels"]), list(manifest["messages"])
    counts = (len(manifest["inputs"]), len(manifest["outputs"]), len(labels), len(messages))
    arena, scratch, stamps, weights = (sizes[name] for name in ("arena", "scratch", "stamps", "weights"))
    return b"".join([
        struct.pack("<4sI32s", b"ESPA", VERSION, fingerprint.encode()),
        struct.pack("<5Qd", arena, sizes.get("arena_per_step", 0), scratch, stamps, weights,
                    tolerance(manifest)),
        struct.pack("<5I", SEQUENTIAL if sizes.get("sequential") else 0, *counts),
        _string(target_text(manifest)), *map(_tensor, tensors), *map(_string, labels + messages)])


def target_text(manifest: Mapping[str, Any]) -> str:
    """The target as messages name it: triple and CPU, or the name of a host target."""
    target = manifest["target"]
    return " ".join(str(target[key]) for key in ("triple", "cpu") if target.get(key)) or str(target["name"])


def tolerance(manifest: Mapping[str, Any]) -> float:
    """How far a check may be off, as a share of the largest output."""
    precision = manifest["target"].get("precision", "fp32")
    if precision not in TOLERANCES:
        raise unknown("precision", precision, TOLERANCES)
    return TOLERANCES[precision]


def _tensor(spec: Mapping[str, Any]) -> bytes:
    shape, dtype = list(spec["shape"]), np.dtype(spec["dtype"]).name
    if len(shape) > MAX_RANK or dtype not in DTYPES:
        raise EspalierError(f"'{spec['name']}': expected up to {MAX_RANK} dimensions of {', '.join(DTYPES)}, "
                            f"found {len(shape)} of {dtype}")
    dimensions = [*shape, *[1] * (MAX_RANK - len(shape))]
    return struct.pack("<2I8q", DTYPES[dtype], len(shape), *dimensions) + _string(spec["name"])


def _string(text: str) -> bytes:
    data = text.replace("\0", " ").encode()
    return struct.pack("<I", len(data)) + data + bytes(4 - len(data) % 4)
