"""The scheduler that needs no measurement, and schedules as values."""

from __future__ import annotations

import numpy as np
import pytest
from espalier.sparse_dialect.devices.device import Device, NetworkDevice
from espalier.sparse_dialect.geometry.convolution import Convolution
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.schedule.heuristic import LONGEST_FP16_SUM, Heuristic, Layer, Mode
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.sparse_dialect.schemes import Dense, Pattern, Structured, Unstructured


def matrix(kept: int) -> Layer:
    """A linear layer of 64 x 64 of which ``kept`` weights of each row are not zero."""
    weight = np.zeros((64, 64), np.float32)
    weight[:, :kept] = 1
    return Layer(weight != 0, Dense() if kept == 64 else Unstructured())


@pytest.mark.parametrize(("kept", "mode", "family"), [
    (64, "auto", "dense_rows"), (60, "auto", "dense_rows"), (2, "auto", "sell"), (2, "dense", "dense_rows"),
    (60, "sparse", "sell")])
def test_dense_where_nothing_is_gained(kept: int, mode: Mode, family: str) -> None:
    choice = Heuristic(Device(), mode).choose(matrix(kept), Schedule())
    assert choice.schedule.micro_kernel == family
    assert isinstance(choice.scheme, Dense) == (family == "dense_rows")


def test_the_number_of_inputs_enters_the_choice() -> None:
    """One input streams the weights, where half of them is half the time; many wait for multiplies."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((1024, 1024)).astype(np.float32) * (random.random((1024, 1024)) < 0.6)
    layers = {inputs: Layer(weight != 0, Unstructured(), inputs=inputs) for inputs in (1, 8, 1000)}
    chosen = {inputs: Heuristic(Device()).choose(layer, Schedule()) for inputs, layer in layers.items()}
    limits = {inputs: float(choice.reason.split("pays below ")[1].split("%")[0])
              for inputs, choice in chosen.items()}
    assert limits[1] > limits[8]
    assert "for 8 inputs" in chosen[8].reason
    assert isinstance(chosen[8].scheme, Dense)


def test_a_matrix_that_stays_in_cache_is_read_fast_dense() -> None:
    """Where other weights push it out from run to run, half of it is read in half the time."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((512, 256)).astype(np.float32) * (random.random((512, 256)) < 0.5)
    layer = Layer(weight != 0, Unstructured())
    alone, among = Device(core="avx512"), NetworkDevice(core="avx512", weights=50 << 20)
    assert isinstance(Heuristic(alone).choose(layer, Schedule()).scheme, Dense)
    assert Heuristic(among).choose(layer, Schedule()).scheme == Unstructured()


def test_what_is_left_of_rows_and_columns_runs_as_a_smaller_dense_matrix() -> None:
    weight = np.ones((256, 256), np.float32)
    weight[:100] = 0
    for inputs in (1, 8, None):
        layer = Layer(weight != 0, Structured(), inputs=inputs)
        chosen = Heuristic(Device()).choose(layer, Schedule()).schedule
        assert (chosen.micro_kernel, chosen.storage) == ("dense_rows", "kept_rows")
    steps = Layer(weight != 0, Structured(), gates=4)
    assert Heuristic(Device(), "sparse").choose(steps, Schedule()).schedule.storage == "sell"


@pytest.mark.parametrize(("storage", "kept"), [("sell", 60), ("dense_rows", 2)])
def test_a_storage_that_is_given_decides(storage: str, kept: int) -> None:
    choice = Heuristic(Device()).choose(matrix(kept), Schedule(storage=storage))
    assert choice.schedule.storage == storage
    assert "asked for" in choice.reason


def test_short_sums_in_f16() -> None:
    """9 taps of 512 channels are more products than f16 sums up without losing digits."""
    weight = np.ones((8, 512, 3, 3), np.float32)
    convolution = Convolution(batch=1, channels=512, filters=8, groups=1, kernel=(3, 3),
                              window=Window.of((3, 3), padding=(1, 1)), source=(1, 14, 14),
                              target=(1, 14, 14))
    layer = Layer(weight != 0, Dense(), convolution)
    short = Heuristic(Device(precision="fp16", arithmetic="fp16")).choose(layer, Schedule()).schedule
    assert short.channel_block is not None
    assert short.channel_block * 9 <= LONGEST_FP16_SUM
    whole = Heuristic(Device()).choose(layer, Schedule()).schedule
    assert whole.channel_block is not None
    assert whole.channel_block > short.channel_block


def test_of_equals_the_first() -> None:
    candidates = [Schedule(chunks=chunks) for chunks in (1, 2, 3)]
    chosen = Heuristic(Device()).among(candidates, lambda schedule: abs((schedule.chunks or 0) - 2.5))
    assert chosen == Schedule(chunks=2)


def test_what_a_schedule_says_is_kept() -> None:
    given = Schedule(tile=(1, 2), chunks=None)
    assert given.filled(tile=(4, 4), chunks=3) == Schedule(tile=(1, 2), chunks=3)
    assert given.missing("tile", "chunks", "grid") == ["chunks", "grid"]


@pytest.mark.parametrize(("stride", "taps", "core", "mixed"), [
    (2, 4, "avx512", True), (1, 4, "avx512", None), (1, 1, "avx512", True), (1, 5, "avx512", None),
    (2, 4, "cortex-a76", None)])
def test_kernels_that_share_no_lines_come_in_one_run(stride: int, taps: int, core: str,
                                                     mixed: bool | None) -> None:
    """Patterns of 4 at stride 2, and few single weights; of many two filters share lines."""
    mask = np.zeros((64, 64, 9), bool)
    mask[:, ::4, :taps] = True
    mask[:, 1::4, 4 : 4 + taps] = True
    if taps != 4:  # single weights: ``taps`` of 9
        mask[:, :, :taps] = True
    scheme = Pattern((3, 3), ((0, 1, 2, 3), (4, 5, 6, 7))) if taps == 4 else Unstructured()
    size = 28 // stride
    convolution = Convolution(batch=1, channels=64, filters=64, groups=1, kernel=(3, 3),
                              window=Window.of((3, 3), (stride, stride), (1, 1)), source=(1, 28, 28),
                              target=(1, size, size))
    layer = Layer(mask.reshape(64, 64, 3, 3), scheme, convolution)
    found = Heuristic(Device(core=core), "sparse").choose(layer, Schedule()).schedule
    assert found.mixed == mixed
    assert found.filters_per_group == (2 if taps == 5 else 1)
    tuned = Heuristic(Device(core=core), "sparse").choose(layer, Schedule(filters_per_group=2)).schedule
    assert tuned.mixed is None  # rows of several filters do not run so
