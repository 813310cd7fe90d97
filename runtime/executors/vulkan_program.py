"""What a GPU runs: kernels in SPIR-V and a list of dispatches, and that as the ``code`` of a model file.

"ESPV", u32 bytes of JSON, JSON padded with spaces to a multiple of 4, the kernels' words one after the other
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

from ...entry import digest_of
from ...errors import EspalierError

WEIGHTS, ACTIVATIONS = 0, 1  # ESPALIER_GPU_* of c/vulkan.h
OFFSET_ALIGNMENT = 256  # the largest minStorageBufferOffsetAlignment that the specification allows
_MAGIC = b"ESPV"


@dataclass(frozen=True)
class Kernel:
    """SPIR-V ``words`` with the entry point ``main`` and ``bindings`` storage buffers in set 0."""

    name: str
    words: bytes
    bindings: int
    push_bytes: int = 0


@dataclass(frozen=True)
class Range:
    """``bytes`` from ``offset`` of ``WEIGHTS`` or ``ACTIVATIONS``; ``written``: by the kernel that has it."""

    buffer: int
    offset: int
    bytes: int
    written: bool = False


@dataclass(frozen=True)
class Dispatch:
    """Runs ``groups`` workgroups of the kernel of that number, with a range for each of its bindings."""

    kernel: int
    groups: tuple[int, int, int]
    ranges: tuple[Range, ...]
    push: bytes = b""


@dataclass(frozen=True)
class Program:
    """What a run does, in order. ``inputs``, ``outputs``: ranges of the activations. ``halves``: the device
    must compute in fp16 and keep it in storage buffers."""

    kernels: tuple[Kernel, ...]
    dispatches: tuple[Dispatch, ...]
    inputs: tuple[Range, ...]
    outputs: tuple[Range, ...]
    weights: bytes
    activation_bytes: int
    halves: bool = False


def encode(program: Program) -> bytes:
    """The program with no more of its weights than their digest; equal programs give equal bytes."""
    text = json.dumps(
        {
            "kernels": [
                {
                    "name": kernel.name,
                    "bytes": len(kernel.words),
                    "bindings": kernel.bindings,
                    "push_bytes": kernel.push_bytes,
                }
                for kernel in program.kernels
            ],
            "dispatches": [
                {
                    "kernel": dispatch.kernel,
                    "groups": dispatch.groups,
                    "push": dispatch.push.hex(),
                    "ranges": [asdict(one) for one in dispatch.ranges],
                }
                for dispatch in program.dispatches
            ],
            "inputs": [asdict(one) for one in program.inputs],
            "outputs": [asdict(one) for one in program.outputs],
            "activation_bytes": program.activation_bytes,
            "halves": program.halves,
            "digest": digest_of(program.weights),
        }
    ).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        [_MAGIC, struct.pack("<I", len(text)), text, *(kernel.words for kernel in program.kernels)]
    )


def decode(code: bytes, weights: bytes) -> Program:
    """The program behind ``encode``; ``EspalierError`` where it is none."""
    try:
        if code[:4] != _MAGIC:
            raise ValueError("it does not begin as one")
        end = 8 + struct.unpack_from("<I", code, 4)[0]
        known = json.loads(code[8:end])
        kernels = []
        for one in known["kernels"]:
            words, end = code[end : end + int(one["bytes"])], end + int(one["bytes"])
            kernels.append(Kernel(str(one["name"]), words, int(one["bindings"]), int(one["push_bytes"])))
        if end != len(code):
            raise ValueError("its length is not that of its kernels")
        dispatches = [
            Dispatch(
                int(one["kernel"]), _three(one["groups"]), _ranges(one["ranges"]), bytes.fromhex(one["push"])
            )
            for one in known["dispatches"]
        ]
        for one in dispatches:
            if not 0 <= one.kernel < len(kernels) or len(one.ranges) != kernels[one.kernel].bindings:
                raise ValueError("a dispatch does not fit its kernel")
            if len(one.push) != kernels[one.kernel].push_bytes:
                raise ValueError("a dispatch's push constants do not fit its kernel")
        if digest_of(weights) != known["digest"]:
            raise ValueError("its weights are not those that it was compiled with")
        return Program(
            tuple(kernels),
            tuple(dispatches),
            _ranges(known["inputs"]),
            _ranges(known["outputs"]),
            weights,
            int(known["activation_bytes"]),
            bool(known["halves"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise EspalierError(
            f"the model's code is no GPU program: {error}; compile the model again"
        ) from error


def _three(sizes: list[int]) -> tuple[int, int, int]:
    x, y, z = map(int, sizes)
    return x, y, z


def _ranges(known: list[dict[str, int]]) -> tuple[Range, ...]:
    return tuple(
        Range(int(one["buffer"]), int(one["offset"]), int(one["bytes"]), bool(one["written"]))
        for one in known
    )
