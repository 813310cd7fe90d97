"""The Vulkan runtime: programs on software devices under the validation layer, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.runtime.executors.vulkan import Gpu, GpuProgram, devices
from espalier.runtime.executors.vulkan_program import ACTIVATIONS, WEIGHTS, Dispatch, Kernel, Program, Range
from support.vulkan import DRIVERS, check_spirv, on_each_device, scale_and_add, validated

COUNT = 1024  # elements of each tensor: 4 workgroups
BYTES = 4 * COUNT


def tensor(number: int, written: bool = False, buffer: int = ACTIVATIONS) -> Range:
    return Range(buffer, number * BYTES, BYTES, written)


def chain(weights: np.ndarray) -> Program:
    """out = 3 * (2 * x + weights) + x: the second dispatch needs what the first writes."""
    kernels = (Kernel("twice", scale_and_add(2.0), 3), Kernel("thrice", scale_and_add(3.0), 3))
    first = Dispatch(0, (4, 1, 1), (tensor(0), tensor(0, buffer=WEIGHTS), tensor(1, True)))
    second = Dispatch(1, (4, 1, 1), (tensor(1), tensor(0), tensor(2, True)))
    return Program(kernels, (first, second), (tensor(0),), (tensor(2),), weights.tobytes(), 3 * BYTES)


def numbers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32)


@on_each_device
@pytest.mark.parametrize("staging", [False, True], ids=["in place", "staged"])
def test_dependent_dispatches(driver: str, staging: bool) -> None:
    weights = numbers(0)
    with validated(driver, staging=staging) as gpu, GpuProgram(gpu, chain(weights)) as program:
        for seed in (1, 2, 1):  # the same program, run again
            x = numbers(seed)
            (out,) = program.run([x])
            np.testing.assert_allclose(out.view(np.float32), 3 * (2 * x + weights) + x, rtol=1e-6, atol=1e-6)


@on_each_device
def test_programs_share_a_device_and_threads(driver: str) -> None:
    def several(seed: int) -> bool:
        weights, x = numbers(seed), numbers(seed + 100)
        with GpuProgram(gpu, chain(weights)) as program:
            results = [program.run([x])[0].view(np.float32) for _ in range(5)]
        return all(np.array_equal(result, results[0]) for result in results) and np.allclose(
            results[0], 3 * (2 * x + weights) + x, rtol=1e-6, atol=1e-6)

    with validated(driver) as gpu, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(several, range(4)))


def test_words_are_valid(tmp_path: Path) -> None:
    check_spirv(scale_and_add(2.0), tmp_path)


@on_each_device
def test_the_layer_is_heard(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel with fewer bindings than its code has: the layer must say so, and we must see it."""
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    program = chain(numbers(0))
    short = replace(program, kernels=(replace(program.kernels[0], bindings=2),), dispatches=())
    with Gpu(0, validate=True) as gpu:
        GpuProgram(gpu, short).close()
        count, first = gpu.messages()
    assert count >= 1
    assert "VUID-VkComputePipelineCreateInfo-layout" in first


@on_each_device
def test_a_missing_wait_is_heard(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatch that hides what it writes gets no barrier behind it: the layer must see that."""
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    hidden = _changed(GOOD, ranges=(*READS_WEIGHTS[:2], tensor(1)))
    with Gpu(0, validate=True) as gpu:
        GpuProgram(gpu, hidden).close()
        count, first = gpu.messages()
    assert count >= 1
    assert "SYNC-HAZARD-READ" in first


@on_each_device
def test_devices_are_described(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    (found,) = devices()
    assert found.type == "software"
    assert found.fp16 == (driver == "lavapipe")
    assert found.workgroup >= 128
    assert found.storage_buffers >= 4
    assert found.memory > 0
    assert found.version.startswith("1.")


@on_each_device
def test_no_such_device(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    with pytest.raises(EspalierError, match="no Vulkan device 9; expected 0 to 0"):
        Gpu(9)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nothing.json")
    with pytest.raises(EspalierError, match=r"no Vulkan driver; VK_ICD_FILENAMES is /nothing\.json"):
        devices()
    with pytest.raises(EspalierError, match="no Vulkan driver"):
        Gpu()


def test_no_loader() -> None:
    with pytest.raises(EspalierError, match="no Vulkan loader"):
        devices("/nothing.so")
    with pytest.raises(EspalierError, match="is no Vulkan loader"):
        devices("libm.so.6")


def _changed(program: Program, **changes: object) -> Program:
    return replace(program, dispatches=(replace(program.dispatches[0], **changes), program.dispatches[1]))


GOOD = chain(numbers(0))
READS_WEIGHTS = (tensor(0), tensor(0, buffer=WEIGHTS), tensor(1, True))
BAD = {
    "'twice' is no SPIR-V": replace(GOOD, kernels=(
        replace(GOOD.kernels[0], words=b"\0" * 64), GOOD.kernels[1])),
    "kernel 'thrice' is no SPIR-V": replace(GOOD, kernels=(
        GOOD.kernels[0], replace(GOOD.kernels[1], words=GOOD.kernels[1].words[:-1]))),
    "'twice' has 99 storage buffers": replace(GOOD, kernels=(replace(GOOD.kernels[0], bindings=99),),
                                              dispatches=()),
    "'twice' has 1000 bytes of push constants": replace(
        GOOD, kernels=(replace(GOOD.kernels[0], push_bytes=1000),), dispatches=()),
    "dispatch 0 names kernel 7 of 2": _changed(GOOD, kernel=7),
    "'twice' wants 0 workgroups": _changed(GOOD, groups=(4, 0, 1)),
    "'twice' uses bytes 8192 and 8192 more of buffer 1, which has 12288": _changed(
        GOOD, ranges=(*READS_WEIGHTS[:2], Range(ACTIVATIONS, 2 * BYTES, 2 * BYTES, True))),
    "'twice' uses offset 4": _changed(GOOD, ranges=(Range(ACTIVATIONS, 4, BYTES), *READS_WEIGHTS[1:])),
    "'twice' writes weights": _changed(GOOD, ranges=(*READS_WEIGHTS[:2], tensor(0, True, WEIGHTS))),
    "input 0 is no aligned range of activations": replace(GOOD, inputs=(tensor(0, buffer=WEIGHTS),)),
    "'output' uses bytes 12288": replace(GOOD, outputs=(tensor(3),)),
}


@on_each_device
@pytest.mark.parametrize("message", BAD)
def test_bad_programs_are_refused(driver: str, message: str) -> None:
    with validated(driver) as gpu:
        with pytest.raises(EspalierError, match=message):
            GpuProgram(gpu, BAD[message])


@on_each_device
def test_bad_inputs_are_refused(driver: str) -> None:
    with validated(driver) as gpu, GpuProgram(gpu, GOOD) as program:
        with pytest.raises(EspalierError, match="expected 1 inputs and 1 outputs, found 0 and 1"):
            program.run([])
        with pytest.raises(EspalierError, match="input 0: expected 4096 bytes, found 4092"):
            program.run([numbers(0)[1:]])
        program.run([numbers(0)])  # and the next run works
