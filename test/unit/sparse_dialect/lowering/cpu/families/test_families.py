"""Kernel families: which layers they take, and what there is to choose."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends.torch.import_torch import import_module
from espalier.pipelines.driver import BEFORE, CompileOptions, Watch, compile_linalg, lower_linalg
from espalier.pipelines.target import Target
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.dialect.ops import LiftOp, PoolOp, UnliftOp
from espalier.sparse_dialect.dialect.packed import PackedConvOp
from espalier.sparse_dialect.dialect.recurrent import PACKED_LAYERS
from espalier.sparse_dialect.dialect.schedules import schedule_of, set_schedule
from espalier.sparse_dialect.errors import PassError
from espalier.sparse_dialect.geometry.convolution import Convolution
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import operations
from espalier.sparse_dialect.lowering.cpu.families import LAYOUTS, family_of, space_of
from espalier.sparse_dialect.schedule.families import FAMILIES, families, natural
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.sparse_dialect.schemes import Dense, Kgs, Pattern, Scheme, Structured
from torch import nn


class Layers(nn.Module):
    """A layer for every family but the fused one."""

    def __init__(self) -> None:
        super().__init__()
        self.pattern, self.groups = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.dense, self.sell = nn.Linear(16, 32), nn.Linear(32, 64)
        self.gru = nn.GRU(64, 16)
        for layer, kept in ((self.pattern, Pattern.project(array(self.pattern), entries=4, patterns=4)),
                            (self.groups, Kgs.project(array(self.groups), rate=4.0))):
            layer.weight.data = torch.from_numpy(kept)
        with torch.no_grad():
            self.sell.weight[torch.rand(64, 32) < 0.95] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.groups(nn.functional.max_pool2d(self.pattern(x), 2)))
        answer: torch.Tensor = self.gru(self.sell(self.dense(x.mean((2, 3))))[None])[0]
        return answer


def array(layer: nn.Conv2d) -> np.ndarray:
    return layer.weight.detach().numpy()


@pytest.fixture(scope="module")
def module() -> ir.Module:
    """The layers with complete schedules."""
    torch.manual_seed(0)
    linalg = import_module(Layers().eval(), (torch.zeros(1, 8, 28, 28),))
    lower_linalg(linalg, CompileOptions(), Target.host(), "sparse")
    return linalg


def layers_of(module: ir.Module) -> list[Any]:
    return operations(module.operation, *PACKED_LAYERS, PoolOp, LiftOp, UnliftOp)


def test_families_are_called_as_they_are_listed() -> None:
    assert [family.name for family in families()] == list(FAMILIES)


def convolution(groups: int) -> Convolution:
    return Convolution(batch=1, channels=8, filters=8, groups=groups, kernel=(3, 3), window=Window((1, 3, 3)),
                       source=(1, 9, 9), target=(1, 7, 7))


@pytest.mark.parametrize(("scheme", "stored"), [
    (Dense(), "dense_kernels fkw dense_kernels dense_rows dense_rows"),
    (Pattern((3, 3), ((0, 1, 3, 4),)), "fkw fkw fkw sell sell"),
    (Kgs(2, 2, (3, 3)), "column_groups column_groups column_groups sell sell"),
    (Structured(), "column_groups column_groups column_groups kept_rows sell")])
def test_one_family_is_made_for_a_layer_and_says_how_its_weights_are_stored(
    scheme: Scheme, stored: str) -> None:
    """Plain, grouped and depthwise convolutions, matrices, recurrent layers."""
    convolutions = [(convolution(groups), False) for groups in (1, 2, 8)]
    layers = [*convolutions, (None, False), (None, True)]
    for (conv, steps), storage in zip(layers, stored.split(), strict=True):
        made = [one.name for one in families() if one.stores(conv, scheme, steps) is not None]
        assert len(made) == 1
        assert natural(conv, scheme, steps) == {"micro_kernel": made[0], "storage": storage}


def test_spaces_hold_the_default_and_nothing_where_there_is_no_choice(module: ir.Module) -> None:
    core = CORES["avx512"]
    for layer in layers_of(module):
        if isinstance(layer, LiftOp | UnliftOp):
            continue
        space = space_of(layer, core)
        assert (space is None) == isinstance(layer, PoolOp)
        if space is not None:
            assert space.possible(space.default)
            assert space.size > 1 or not isinstance(layer, PackedConvOp)


def test_one_family_takes_a_layer(module: ir.Module) -> None:
    found = set()
    for layer in layers_of(module):
        family = family_of(layer)
        taken = [one for one in (*families(), *LAYOUTS.values()) if not one.covers(layer)]
        assert taken == [family], [one.name for one in taken]
        found.add(family.name)
    assert found >= set(FAMILIES) - {"fused_depthwise"}


def test_candidates_are_complete_and_judged(module: ir.Module) -> None:
    core = CORES["avx512"]
    for layer in layers_of(module):
        family, schedule = family_of(layer), Schedule()
        if family.name in ("lift", "unlift"):
            continue
        candidates = family.candidates(layer, schedule, core)
        seconds = list(map(family.cost(layer, schedule, core), candidates))
        assert len(candidates) >= 1
        assert all(second >= 0 for second in seconds)
        if family.name in ("kernel_classes", "column_groups"):
            assert len(candidates) > 1
            assert min(seconds) > 0
            assert not any(one.missing("tile", "chunks", "prefetch") for one in candidates)


def test_what_a_schedule_says_is_obeyed_or_refused(module: ir.Module) -> None:
    core = CORES["avx512"]
    for layer in layers_of(module):
        family = family_of(layer)
        if family.name == "kernel_classes":
            (only,) = family.candidates(layer, Schedule(tile=(1, 1, 2)), core)
            assert only.tile == (1, 1, 2)
            with pytest.raises(PassError, match="a schedule with a tile of at most"):
                family.candidates(layer, Schedule(tile=(1, 30, 30)), core)
        elif family.name == "column_groups":
            few = family.candidates(layer, Schedule(sub_tile=(1, 1, 1)), core)
            assert {one.sub_tile for one in few} == {(1, 1, 1)}
            with pytest.raises(PassError, match="a schedule with passes that divide"):
                family.candidates(layer, Schedule(passes=97), core)
            assert prod(few[0].tile or ()) >= 1


@pytest.mark.parametrize(("name", "message"), [
    (None, "expected a complete schedule, found none for micro_kernel; run sparse-schedule-tiles first"),
    ("sell", "expected a layer that the micro-kernel sell takes, found no matrix product; correct or leave"),
    ("fused_depthwise", "found no convolution|found a plain convolution|found an input that no convolution"),
])
def test_a_schedule_that_names_another_family(name: str | None, message: str) -> None:
    linalg = import_module(nn.Conv2d(4, 4, 3).eval(), (torch.zeros(1, 4, 8, 8),))
    lower_linalg(linalg, CompileOptions(), Target.host(), "sparse")
    (conv,) = operations(linalg.operation, *PACKED_LAYERS)
    with linalg.context:
        set_schedule(conv, replace(schedule_of(conv), micro_kernel=name))
    with pytest.raises(PassError, match=message):
        family_of(conv)


def test_a_compilation_may_stop_before_or_after_any_stage() -> None:
    heard: list[str] = []
    watch = Watch(listeners=[lambda name, root, rest: heard.append(name)])
    linalg = import_module(nn.Conv2d(4, 4, 3).eval(), (torch.zeros(1, 4, 8, 8),))
    lower_linalg(linalg, CompileOptions(), Target.host(), BEFORE, watch=watch)
    assert heard == [BEFORE]
    compile_linalg(linalg, CompileOptions(), Target.host(), watch=watch)
    assert heard[1:] == [BEFORE, "sparse", "vector", "buffers", "arena", "llvm-dialect"]
