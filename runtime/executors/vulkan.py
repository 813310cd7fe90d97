"""Runs programs on a GPU: devices, kernels in SPIR-V and a list of dispatches, through ``c/vulkan.h``.

    with Gpu(0) as gpu, GpuProgram(gpu, program) as loaded:
        outputs = loaded.run([x])          # one submit

A program is recorded once, when it is loaded; a run copies in, submits, waits and copies out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import EspalierError
from .vulkan_library import vulkan_library
from .vulkan_program import FP16, Program, Range

_MESSAGE_BYTES = 256
_MOST_DEVICES = 64
_WORKGROUP, _BUFFERS, _RANGE_BYTES = 64, 8, 1 << 27  # what kernels are made for (``lowering/gpu``)
_TYPES = {1: "integrated", 2: "discrete", 3: "virtual", 4: "software"}


@dataclass(frozen=True)
class GpuInfo:
    """A device as Vulkan describes it; bytes, ``workgroup``: the most threads of one."""

    name: str
    driver: str
    version: str
    type: str
    memory: int
    fp16: bool
    workgroup: int
    storage_buffers: int
    push_bytes: int
    shared_bytes: int
    buffer_range: int

    def misfit(self) -> str:
        """What our kernels, of any profile, need and the device has not; empty where all profiles fit."""
        needs = (("threads of a workgroup", self.workgroup, _WORKGROUP),
                 ("storage buffers of a kernel", self.storage_buffers, _BUFFERS),
                 ("bytes of a storage buffer", self.buffer_range, _RANGE_BYTES))
        found = next(((what, has, wanted) for what, has, wanted in needs if has < wanted), None)
        if self.version.split(".")[:2] < ["1", "1"]:
            return f"needs Vulkan 1.1, has {self.version}"
        return "" if found is None else f"needs {found[2]} {found[0]}, has {found[1]}"


def devices(loader: str | None = None) -> list[GpuInfo]:
    """Every Vulkan device, by its number. ``EspalierError`` where there is no loader or no driver."""
    infos, count = (_Info * _MOST_DEVICES)(), ctypes.c_size_t()
    _call("espalier_gpu_list", loader.encode() if loader else None, infos, ctypes.c_size_t(_MOST_DEVICES),
          ctypes.byref(count))
    return [_info(infos[at]) for at in range(min(count.value, _MOST_DEVICES))]


class Gpu:
    """An open device with one compute queue, which programs share; close it after them."""

    def __init__(self, device: int = -1, *, validate: bool = False, staging: bool = False,
                 loader: str | None = None, cache: Path | None = None, timestamps: bool = False) -> None:
        """
        ``device``: its number, -1: discrete, then integrated, then any. ``validate``: with the Khronos layer.
        ``staging``: copy inputs and outputs even where the host sees the device's memory. ``cache``: a file
        where the driver's compiled kernels are kept. ``timestamps``: programs measure each dispatch.

        Raises ``EspalierError`` where there is no such device, or it lacks what we need.
        """
        if not -1 <= device < _MOST_DEVICES:  # C would take a part of a longer number
            raise EspalierError(f"there is no Vulkan device {device}; see espalier devices")
        self._handle = ctypes.c_void_p()
        options = _Options(device, validate, staging, loader.encode() if loader else None,
                           bytes(cache) if cache else None, timestamps)
        _call("espalier_gpu_create", ctypes.byref(options), ctypes.byref(self._handle))

    def messages(self) -> tuple[int, str]:
        """How many warnings and errors the validation layer has reported, and the first."""
        library = vulkan_library()
        library.espalier_gpu_first_message.restype = ctypes.c_char_p
        return (int(library.espalier_gpu_message_count(self._handle)),
                library.espalier_gpu_first_message(self._handle).decode(errors="replace"))

    def close(self) -> None:
        """Ends the device; a second time is fine."""
        vulkan_library().espalier_gpu_destroy(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GpuProgram:
    """A program on a device, recorded. One call at a time; programs may run on threads of their own."""

    def __init__(self, gpu: Gpu, program: Program) -> None:
        """Raises ``EspalierError`` where program and device do not fit; a kernel at fault is named."""
        self._handle = ctypes.c_void_p()
        self._program = replace(program, weights=b"", kernels=())
        self._dispatches = len(program.dispatches)
        description, kept = _describe(program)
        _call("espalier_gpu_program_create", gpu._handle, ctypes.byref(description),
              ctypes.byref(self._handle))
        del kept  # lived until the call was over

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs as bytes, uint8 [n]. Raises ``EspalierError`` where an input has another size, or the
        model stopped: an index of an input is beyond what it is for."""
        arrays = [np.ascontiguousarray(one) for one in inputs]
        outputs = [np.empty(size, np.uint8) for size in self._output_bytes(arrays)]
        given = (_Buffer * len(arrays))(*[_Buffer(one.ctypes.data, one.nbytes) for one in arrays])
        taken = (_Buffer * len(outputs))(*[_Buffer(one.ctypes.data, one.nbytes) for one in outputs])
        _call("espalier_gpu_program_run", self._handle, given, ctypes.c_size_t(len(arrays)), taken,
              ctypes.c_size_t(len(outputs)))
        return outputs

    def _output_bytes(self, inputs: Sequence[np.ndarray]) -> list[int]:
        """Of each output, for as many time steps as the first input has whose number of them is free."""
        known, count = self._program, len(self._program.inputs)
        pairs = zip(inputs, known.inputs, known.free, strict=False)
        steps = next((array.nbytes * known.most_steps // one.bytes for array, one, free in pairs if free), 0)
        free = known.free[count:] or [False] * len(known.outputs)
        return [one.bytes // known.most_steps * steps if own else one.bytes
                for one, own in zip(known.outputs, free, strict=True)]

    def times(self) -> list[float]:
        """Seconds of each dispatch of the last run, on a device with ``timestamps``; else zeros."""
        seconds = (ctypes.c_double * self._dispatches)()
        _call("espalier_gpu_program_times", self._handle, seconds, ctypes.c_size_t(self._dispatches))
        return list(seconds)

    def close(self) -> None:
        """Frees the program's memory; a second time is fine."""
        vulkan_library().espalier_gpu_program_destroy(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- the structures of c/vulkan.h ---


class _Info(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 256), ("driver", ctypes.c_char * 512), ("major", ctypes.c_uint32),
                ("minor", ctypes.c_uint32), ("patch", ctypes.c_uint32), ("type", ctypes.c_uint32),
                ("fp16", ctypes.c_uint32), ("workgroup", ctypes.c_uint32),
                ("storage_buffers", ctypes.c_uint32), ("push_bytes", ctypes.c_uint32),
                ("shared_bytes", ctypes.c_uint32), ("memory", ctypes.c_uint64),
                ("buffer_range", ctypes.c_uint64))


class _Options(ctypes.Structure):
    _fields_ = (("device", ctypes.c_int32), ("validate", ctypes.c_uint32), ("staging", ctypes.c_uint32),
                ("loader", ctypes.c_char_p), ("cache", ctypes.c_char_p), ("timestamps", ctypes.c_uint32),
                ("app", ctypes.c_void_p))


class _Kernel(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("words", ctypes.c_void_p), ("bytes", ctypes.c_size_t),
                ("bindings", ctypes.c_uint32), ("push_bytes", ctypes.c_uint32))


class _Range(ctypes.Structure):
    _fields_ = (("buffer", ctypes.c_uint32), ("written", ctypes.c_uint32), ("offset", ctypes.c_uint64),
                ("bytes", ctypes.c_uint64))


class _Dispatch(ctypes.Structure):
    _fields_ = (("kernel", ctypes.c_uint32), ("groups", ctypes.c_uint32 * 3), ("ranges", ctypes.c_void_p),
                ("push", ctypes.c_void_p))


class _Description(ctypes.Structure):
    _fields_ = (("kernels", ctypes.c_void_p), ("dispatches", ctypes.c_void_p), ("inputs", ctypes.c_void_p),
                ("outputs", ctypes.c_void_p), ("kernel_count", ctypes.c_size_t),
                ("dispatch_count", ctypes.c_size_t), ("input_count", ctypes.c_size_t),
                ("output_count", ctypes.c_size_t), ("weights", ctypes.c_void_p),
                ("weight_bytes", ctypes.c_uint64), ("activation_bytes", ctypes.c_uint64),
                ("fp16", ctypes.c_uint32), ("failures", ctypes.c_void_p), ("messages", ctypes.c_void_p),
                ("message_count", ctypes.c_size_t), ("most_steps", ctypes.c_uint32),
                ("steps", ctypes.c_void_p), ("free", ctypes.c_void_p))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


def _call(name: str, *arguments: Any) -> None:
    """Calls the C function, which ends in a message and its room; raises what it says where it fails."""
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    status = getattr(vulkan_library(), name)(*arguments, message, ctypes.c_size_t(_MESSAGE_BYTES))
    if status:
        raise EspalierError(message.value.decode(errors="replace") or f"{name} failed with status {status}")


def _info(raw: _Info) -> GpuInfo:
    return GpuInfo(
        name=raw.name.decode(errors="replace"), driver=raw.driver.decode(errors="replace"),
        version=f"{raw.major}.{raw.minor}.{raw.patch}", type=_TYPES.get(raw.type, "other"), memory=raw.memory,
        fp16=raw.fp16 == 3, workgroup=raw.workgroup, storage_buffers=raw.storage_buffers,
        push_bytes=raw.push_bytes, shared_bytes=raw.shared_bytes, buffer_range=raw.buffer_range)


def _describe(program: Program) -> tuple[_Description, list[Any]]:
    """The C description, and what its pointers point at: it must live as long."""
    kept: list[Any] = []

    def array(kind: type[ctypes.Structure], items: Sequence[ctypes.Structure]) -> int:
        kept.append((kind * max(len(items), 1))(*items))
        return ctypes.addressof(kept[-1])

    def data(content: bytes) -> int | None:
        if not content:
            return None
        kept.append(np.frombuffer(content, np.uint8).copy())  # numpy aligns to 16 bytes
        return int(kept[-1].ctypes.data)

    def ranges(items: Sequence[Range]) -> int:
        return array(_Range, [_Range(one.buffer, one.written, one.offset, one.bytes) for one in items])

    kernels = array(_Kernel, [_Kernel(one.name.encode(), data(one.words), len(one.words), one.bindings,
                                      one.push_bytes) for one in program.kernels])
    dispatches = array(_Dispatch, [_Dispatch(one.kernel, one.groups, ranges(one.ranges), data(one.push))
                                   for one in program.dispatches])
    texts = (ctypes.c_char_p * (len(program.messages) + 1))(*[text.encode() for text in program.messages])
    free = (ctypes.c_uint32 * (len(program.free) + 1))(*program.free)
    kept += [texts, free]
    return _Description(
        kernels, dispatches, ranges(program.inputs), ranges(program.outputs), len(program.kernels),
        len(program.dispatches), len(program.inputs), len(program.outputs), data(program.weights),
        len(program.weights), program.activation_bytes, FP16 if program.halves else 0,
        None if program.failures is None else ranges([program.failures]), ctypes.addressof(texts),
        len(program.messages), program.most_steps,
        None if program.steps is None else ranges([program.steps]), ctypes.addressof(free)), kept
