"""Backends: what the compiler runs is a named pipeline of espalier-opt."""

from __future__ import annotations

import pytest
from espalier.pipelines.backends import Backend, CompileOptions, Stage, backend_for
from espalier.pipelines.named import PREPARE
from espalier.pipelines.parser import named_pipeline, parse_pipeline
from espalier.pipelines.pipeline import ROOT, Nest
from espalier.pipelines.target import Target
from espalier.sparse_dialect.transforms.schedule_layers import ScheduleLayersPass
from espalier.sparse_dialect.transforms.set_target import SetTargetPass

TARGETS = {"cpu": Target.host(), "vulkan": Target.vulkan()}


def whole(backend: Backend, target: Target, options: CompileOptions) -> Nest:
    return Nest(ROOT, tuple(item for stage in backend.stages(target, options) for item in stage.items))


@pytest.mark.parametrize("name", TARGETS)
def test_the_stages_are_the_named_pipeline(name: str) -> None:
    target = TARGETS[name]
    backend = backend_for(target)
    assert backend.name == name
    assert str(whole(backend, target, CompileOptions(database=""))) == str(named_pipeline(backend.pipeline))


def test_options_are_those_of_passes() -> None:
    backend, target = backend_for(Target.host()), Target.host()
    dense = str(whole(backend, target, CompileOptions(sparse=False, eliminate_redundant_loads=False)))
    assert "sparse-schedule-layers{kernel=dense}" in dense
    assert "sparse-eliminate-redundant-loads{level=none}" in dense
    part = whole(backend, target, CompileOptions(kernels=2))
    assert "sparse-lower-to-reference{beyond=2},sparse-lower-to-vector" in str(part)
    assert parse_pipeline(str(part)) == part


def test_options_of_a_pass_that_is_not_there() -> None:
    assert Stage.of("sparse", PREPARE, ScheduleLayersPass(kernel="dense")).name == "sparse"
    with pytest.raises(ValueError, match="stage sparse has no sparse-set-target"):
        Stage.of("sparse", PREPARE, SetTargetPass())


def test_options_of_gpus() -> None:
    backend, target = backend_for(Target.vulkan()), Target.vulkan()
    dense = str(whole(backend, target, CompileOptions(sparse=False)))
    assert "sparse-schedule-gpu-layers{kernel=dense}" in dense
    halves = Target.vulkan("fp16")
    assert "sparse-lower-to-gpu{precision=fp16}" in str(whole(backend, halves, CompileOptions()))
    without = str(whole(backend, target, CompileOptions(eliminate_redundant_loads=False)))
    assert "sparse-eliminate-redundant-loads{level=none}" in without
