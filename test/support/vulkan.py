"""The Vulkan devices that tests run on, with the validation layer silent, and small kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.runtime.executors.vulkan import Gpu, devices
from espalier.sparse_dialect.lowering.gpu.spirv import words_of

# Software devices that fail differently, and the files that describe their drivers to the loader.
_LAVAPIPE = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
_SWIFTSHADER = Path(os.environ.get("ESPALIER_SWIFTSHADER", "/opt/swiftshader"))
DRIVERS = {"lavapipe": _LAVAPIPE[0] if _LAVAPIPE else Path("lvp_icd.json"),
           "swiftshader": _SWIFTSHADER / "vk_swiftshader_icd.json"}


@cache
def lacking(driver: str) -> str:
    """Why there are no tests on that device; empty where there are."""
    if not DRIVERS[driver].exists():
        return f"{driver} is not installed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
        try:
            devices()
            Gpu(0, validate=True).close()
        except EspalierError as error:
            return f"{driver}: {error}"
    return ""


on_each_device = pytest.mark.parametrize("driver", [
    pytest.param(name, marks=pytest.mark.skipif(bool(lacking(name)), reason=lacking(name) or "-"))
    for name in DRIVERS])


@contextmanager
def validated(driver: str, *, staging: bool = False) -> Iterator[Gpu]:
    """The device of that driver; any message of the validation layer fails the test, its end included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
        with Gpu(0, validate=True, staging=staging) as gpu:
            yield gpu
            assert gpu.messages() == (0, "")


def check_spirv(words: bytes, folder: Path) -> None:
    """``spirv-val`` accepts the module."""
    if shutil.which("spirv-val") is None:
        pytest.skip("spirv-val is not installed")
    file = folder / "kernel.spv"
    file.write_bytes(words)
    done = subprocess.run(["spirv-val", "--target-env", "vulkan1.1", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def scale_and_add(factor: float) -> bytes:
    """out[i] = factor * x[i] + y[i], vectors of 4, 64 a workgroup: bindings x, y, out."""
    memref = "memref<?xvector<4xf32>, #spirv.storage_class<StorageBuffer>>"
    return words_of(f"""
gpu.module @kernels {{
  gpu.func @main(%x: {memref}, %y: {memref}, %out: {memref}) kernel
      attributes {{spirv.entry_point_abi = #spirv.entry_point_abi<workgroup_size = [64, 1, 1]>}} {{
    %block = gpu.block_id x
    %thread = gpu.thread_id x
    %threads = arith.constant 64 : index
    %first = arith.muli %block, %threads : index
    %at = arith.addi %first, %thread : index
    %factor = arith.constant dense<{factor:e}> : vector<4xf32>
    %a = memref.load %x[%at] : {memref}
    %b = memref.load %y[%at] : {memref}
    %c = vector.fma %a, %factor, %b : vector<4xf32>
    memref.store %c, %out[%at] : {memref}
    gpu.return
  }}
}}""", {2})
