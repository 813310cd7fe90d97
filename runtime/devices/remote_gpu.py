"""``adb:SERIAL+vulkan`` and ``adb:SERIAL+vulkan:NUMBER``: the GPU of an Android device.

The model's file is data alone, so the program around it (``c/runner.c`` with the Vulkan runtime) is built
here, for the device's ABI, and pushed with it. That takes Android's NDK: a program that opens the
system's Vulkan loader is linked with the system's libc.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import EspalierError
from ..c import FLAGS, LIBRARIES, RUNNER, SOURCES, VULKAN_HEADERS, VULKAN_SOURCES
from ..c.builds import NotBuilt, built_once
from ..model_file import ModelFile
from .adb import AdbDevice
from .device import DeviceRun, run_on
from .vulkan import check_target, device_number

# Android 8: the oldest that the apps of ours are for.
TRIPLES = {"arm64-v8a": "aarch64-linux-android26", "x86_64": "x86_64-linux-android26"}
_NDK = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")


def is_remote_gpu(device: str) -> bool:
    """Whether a device's name means the GPU of another machine."""
    return "+vulkan" in device


def run_on_remote_gpu(device: str, path: Path, file: ModelFile, inputs: Sequence[np.ndarray] = (), *,
                      check: bool = False, repeat: int = 1, profile: bool = False) -> DeviceRun:
    """
    Runs the model in ``path`` (``file`` is its content) on the GPU of a phone; see ``run_on``.

    A check is made of many runs. Raises ``EspalierError`` as ``run_on`` does, and where there is no NDK.
    """
    where, _, gpu = device.partition("+")
    kind, _, serial = where.partition(":")
    number = device_number(gpu)
    if kind != "adb" or not serial:
        raise EspalierError(f"unknown device '{device}': expected adb:SERIAL+vulkan or "
                            "adb:SERIAL+vulkan:NUMBER")
    check_target(path, file, check)
    phone = AdbDevice(serial)
    runner = build(phone.abi())
    own = ("--gpu", str(number)) if number >= 0 else ()
    done = run_on(phone, path, replace(file, runner=runner.read_bytes()), inputs, check=check, repeat=repeat,
                  profile=profile, own=own)
    return replace(done, threads=1)


def build(abi: str) -> Path:
    """The program for an ABI: in the cache by the hash of sources and compiler, built where it is not there.
    ``EspalierError`` where it cannot be built."""
    compiler = str(_compiler(abi))
    sources = (*SOURCES, *VULKAN_SOURCES, RUNNER)
    try:
        return built_once(f"runner-{abi}-{{}}", [compiler], (*sources, *VULKAN_HEADERS), [
            *FLAGS, "-O2", "-DESPALIER_VULKAN", *map(str, sources), "-ldl", *LIBRARIES])
    except NotBuilt as error:
        raise EspalierError(f"'{compiler}' cannot build the program for the phone: {error}") from error


def _compiler(abi: str) -> Path:
    """The NDK's compiler for an ABI."""
    if abi not in TRIPLES:
        raise EspalierError(f"the phone's ABI is '{abi}'; expected one of {', '.join(TRIPLES)}")
    named = next((os.environ[name] for name in _NDK if os.environ.get(name)), None)
    if named is None:
        raise EspalierError("a program for a phone's GPU needs Android's NDK: install it, and set "
                            "ANDROID_NDK_HOME to its folder")
    found = sorted(Path(named).glob(f"toolchains/llvm/prebuilt/*/bin/{TRIPLES[abi]}-clang"))
    if not found:
        raise EspalierError(f"ANDROID_NDK_HOME is '{named}', which has no {TRIPLES[abi]}-clang; expected an "
                            "NDK of version 23 or newer")
    return found[0]
