"""The ``abi`` member of a compiled-model file: what the C runtime needs of the manifest, in binary.

Compiled code carries sizes and types of its own (``espalier_code`` in ``c/espalier.h``, made by
``pipelines/codegen``; attributes of the module for the JIT), and a file that says otherwise is refused.
Little-endian, no gaps; ``c/description.c`` reads it:

    "ESPA", u32 version, fingerprint [32]
    u64 arena, arena a step, scratch (floats a thread), stamps, weights (bytes); f64 tolerance of the check
    u32 flags (1: one thread must run it all), inputs, outputs, labels, messages, states (how many of the last
        inputs, and of the last outputs, are what one run leaves for the next)
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

from ..entry import BUFFERS, SIZES
from ..errors import EspalierError, unknown

VERSION = 5  # ESPALIER_ABI in c/espalier.h
MAX_RANK = 8
MAX_THREADS = 256
DIGEST_BYTES = 32  # of ``digest_of`` (../entry.py)
FREE = -1
SEQUENTIAL = 1
DTYPES = {name: code for code, name in enumerate(
    ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
     "uint64", "bool"), start=1)}
# The element types of memrefs: signless, as code sees them.
ELEMENTS = {"float32": "f32", "float64": "f64", "float16": "f16", "bool": "i1",
            **{f"{sign}int{bits}": f"i{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}}
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
        struct.pack("<6I", SEQUENTIAL if sizes.get("sequential") else 0, *counts, manifest.get("states", 0)),
        _string(target_text(manifest)), *map(_tensor, tensors), *map(_string, labels + messages)])


def check_declared(declared: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """
    Raises ``EspalierError`` where the manifest says something else than the code does.

    ``declared``: what the code's module says of itself (``espalier.<name>`` without the prefix): numbers, and
    lists of strings.
    """
    pairs: list[tuple[str, Any, Any]] = [("buffers", list(BUFFERS), declared.get("arguments"))]
    pairs += [(name, manifest["sizes"].get(name, 0), declared.get(name, 0)) for name in SIZES]
    pairs += [(name, list(manifest[name]), declared.get(name, [])) for name in ("labels", "messages")]
    pairs += [(f"{kind}s", [_type_text(spec) for spec in manifest[f"{kind}s"]],
               declared.get(f"{kind}_types")) for kind in ("input", "output")]
    for name, found, needed in pairs:
        if found != needed:
            raise EspalierError(f"the model is damaged: its manifest says {name} {_short(found)}, its code "
                                f"has {_short(needed)}; compile it again")


def target_text(manifest: Mapping[str, Any]) -> str:
    """The target as messages name it: triple and CPU, or the name of a host target."""
    target = manifest["target"]
    return " ".join(str(target[key]) for key in ("triple", "cpu") if target.get(key)) or str(target["name"])


def tolerance(manifest: Mapping[str, Any]) -> float:
    """How far a check may be off, as a share of the largest output: what the target's precision or, by the
    frontend's word, PyTorch's own rounding brings."""
    precision = manifest["target"].get("precision", "fp32")
    if precision not in TOLERANCES:
        raise unknown("precision", precision, TOLERANCES)
    return max(TOLERANCES[precision], float(manifest.get("tolerance", 0.0)))


def type_of(spec: Mapping[str, Any]) -> tuple[int, int, list[int]]:
    """A tensor's dtype number, rank, and ``MAX_RANK`` dimensions, 1 behind its own."""
    shape, dtype = list(spec["shape"]), np.dtype(spec["dtype"]).name
    if len(shape) > MAX_RANK or dtype not in DTYPES:
        raise EspalierError(f"'{spec['name']}': expected up to {MAX_RANK} dimensions of {', '.join(DTYPES)}, "
                            f"found {len(shape)} of {dtype}")
    return DTYPES[dtype], len(shape), [*shape, *[1] * (MAX_RANK - len(shape))]


def _tensor(spec: Mapping[str, Any]) -> bytes:
    dtype, rank, dimensions = type_of(spec)
    return struct.pack("<2I8q", dtype, rank, *dimensions) + _string(spec["name"])


def _type_text(spec: Mapping[str, Any]) -> str:
    """A tensor's sizes and element as the code's module writes them: ``1x?x8xf32``."""
    sizes = ["?" if size == FREE else str(size) for size in spec["shape"]]
    return "x".join([*sizes, ELEMENTS.get(str(spec["dtype"]), str(spec["dtype"]))])


def _short(value: Any) -> str:
    """A number or a list, for a message of one line."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text[:80]}...'" if len(text) > 80 else f"'{text}'"


def _string(text: str) -> bytes:
    data = text.replace("\0", " ").encode()
    return struct.pack("<I", len(data)) + data + bytes(4 - len(data) % 4)
