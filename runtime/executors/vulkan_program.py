"""What a GPU runs: kernels in SPIR-V and a list of dispatches, and that as the ``code`` of a model file.

Little-endian, no gaps; ``c/vulkan_code.c`` reads it too:

    "ESPV", u32 version, fp16 (ESPALIER_GPU_FP16_*), kernels, dispatches, inputs, outputs, messages, most
    steps
    u64 activation bytes; the weights' digest [32] (``../../entry.py``)
    of each kernel:   u32 bytes of words, bindings, push bytes; its name as a string
    of each dispatch: u32 kernel, groups x, y, z; a range for each binding; the push constants
    a range for each input, then output; where there are messages one for the failures; the messages, strings
    where there are most steps a range for their number; for each input, then output u32 1 where it is free
    the kernels' words, one kernel behind the other

A range is u32 buffer, u32 written, u64 offset, u64 bytes. A string is a u32 length, its UTF-8 bytes, and one
to four zeros up to a multiple of 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...entry import digest_of
from ...errors import EspalierError

WEIGHTS, ACTIVATIONS = 0, 1  # ESPALIER_GPU_* of c/vulkan.h
OFFSET_ALIGNMENT = 256  # the largest minStorageBufferOffsetAlignment that the specification allows
VERSION = 3
FP16 = 3  # ESPALIER_GPU_FP16_ARITHMETIC and _STORAGE
_MAGIC = b"ESPV"
_HEADER = struct.Struct("<4s8IQ32s")
_KERNEL = struct.Struct("<3I")
_DISPATCH = struct.Struct("<4I")
_RANGE = struct.Struct("<2I2Q")
_LONGEST_NAME = 1 << 16


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
    must compute in fp16 and keep it in storage buffers. ``messages``: what a run says that failed, by the
    number, from 1, that its kernels left in ``failures``, of the activations: a word, 2^32 - 1 before.
    Where the number of time steps is free, a run finds it in the word ``steps``, 1 to ``most_steps``;
    ``free``: for each input, then output, whether its first dimension is that, of which the range has most.
    """

    kernels: tuple[Kernel, ...]
    dispatches: tuple[Dispatch, ...]
    inputs: tuple[Range, ...]
    outputs: tuple[Range, ...]
    weights: bytes
    activation_bytes: int
    halves: bool = False
    failures: Range | None = None
    messages: tuple[str, ...] = ()
    steps: Range | None = None
    most_steps: int = 0
    free: tuple[bool, ...] = ()


def encode(program: Program, weights: memoryview | None = None) -> bytes:
    """The program with no more of its weights than their digest; equal programs give equal bytes.
    ``weights``: where they stand beside the program, and it has none of its own."""
    kept = program.weights if weights is None else weights
    pieces = [
        _HEADER.pack(
            _MAGIC,
            VERSION,
            FP16 if program.halves else 0,
            len(program.kernels),
            len(program.dispatches),
            len(program.inputs),
            len(program.outputs),
            len(program.messages),
            program.most_steps,
            program.activation_bytes,
            bytes.fromhex(digest_of(kept)),
        )
    ]
    for kernel in program.kernels:
        pieces.append(_KERNEL.pack(len(kernel.words), kernel.bindings, kernel.push_bytes))
        pieces.append(_packed_text(kernel.name))
    for dispatch in program.dispatches:
        pieces.append(_DISPATCH.pack(dispatch.kernel, *dispatch.groups))
        pieces += map(_packed_range, dispatch.ranges)
        pieces.append(dispatch.push)
    failures = () if program.failures is None else (program.failures,)
    pieces += map(_packed_range, (*program.inputs, *program.outputs, *failures))
    pieces += map(_packed_text, program.messages)
    if program.steps is not None:
        pieces += [_packed_range(program.steps), struct.pack(f"<{len(program.free)}I", *program.free)]
    pieces += [kernel.words for kernel in program.kernels]
    return b"".join(pieces)


def _packed_text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + bytes(4 - len(data) % 4)


def _packed_range(one: Range) -> bytes:
    return _RANGE.pack(one.buffer, one.written, one.offset, one.bytes)


class _Reader:
    """Takes structures off the front of bytes; ``ValueError`` where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def bytes(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise ValueError("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.bytes(layout.size))

    def text(self) -> str:
        (length,) = struct.unpack("<I", self.bytes(4))
        if length > _LONGEST_NAME:
            raise ValueError("a name is too long")
        return self.bytes(length + 4 - length % 4)[:length].decode()

    def range(self) -> Range:
        buffer, written, offset, size = self.numbers(_RANGE)
        return Range(buffer, offset, size, bool(written))

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("its length is not that of its kernels")


def decode(code: bytes, weights: bytes) -> Program:
    """The program behind ``encode``; ``EspalierError`` where it is none."""
    try:
        return _decoded(_Reader(code), weights)
    except (ValueError, struct.error) as error:
        raise EspalierError(
            f"the model's code is no GPU program: {error}; compile the model again"
        ) from error


def _decoded(reader: _Reader, weights: bytes) -> Program:
    magic, version, fp16, *counts, activation_bytes, digest = _HEADER.unpack(reader.bytes(_HEADER.size))
    if magic != _MAGIC:
        raise ValueError("it does not begin as one")
    if version != VERSION:
        raise ValueError(f"expected version {VERSION}, found {version}")
    if bytes.fromhex(digest_of(weights)) != digest:
        raise ValueError("its weights are not those that it was compiled with")
    heads = []
    for _ in range(counts[0]):
        size, bindings, push_bytes = reader.numbers(_KERNEL)
        heads.append((reader.text(), size, bindings, push_bytes))
    dispatches = []
    for _ in range(counts[1]):
        kernel, x, y, z = reader.numbers(_DISPATCH)
        if kernel >= len(heads):
            raise ValueError("a dispatch does not fit its kernel")
        _, _, bindings, push_bytes = heads[kernel]
        ranges = tuple(reader.range() for _ in range(bindings))
        dispatches.append(Dispatch(kernel, (x, y, z), ranges, reader.bytes(push_bytes)))
    inputs, outputs = (tuple(reader.range() for _ in range(count)) for count in counts[2:4])
    failures = reader.range() if counts[4] else None
    messages = tuple(reader.text() for _ in range(counts[4]))
    steps, free = None, tuple[bool, ...]()
    if counts[5]:
        steps, count = reader.range(), len(inputs) + len(outputs)
        free = tuple(map(bool, struct.unpack(f"<{count}I", reader.bytes(4 * count))))
    kernels = [Kernel(name, reader.bytes(size), bindings, push) for name, size, bindings, push in heads]
    reader.end()
    return Program(tuple(kernels), tuple(dispatches), inputs, outputs, weights, activation_bytes, fp16 != 0,
                   failures, messages, steps, counts[5], free)
