"""The tuner's entries: what this compiler can do is used; what it cannot is passed over, with a note."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.named import PREPARE
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from espalier.pipelines.target import Target
from espalier.sparse_dialect.dialect.dialect import register_dialect
from espalier.sparse_dialect.dialect.layer_keys import layer_key, tile_key
from espalier.sparse_dialect.dialect.ops import ConvOp, LinearOp
from espalier.sparse_dialect.dialect.packed import PackedConvOp
from espalier.sparse_dialect.dialect.schedules import schedule_of
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import operations
from espalier.sparse_dialect.schedule.database import Database, Place
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.sparse_dialect.transforms import look_up_schedules

TEXT = """
func.func @main(%x: tensor<1x8x12x12xf32>, %m: tensor<1x16xf32>) -> (tensor<1x8x12x12xf32>, tensor<1x8xf32>) {
  %w = arith.constant dense<1.0> : tensor<8x8x3x3xf32>
  %y = "sparse.conv"(%x, %w) {strides = [1, 1], padding_low = [1, 1], padding_high = [1, 1],
      dilations = [1, 1], groups = 1, activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0, 0>, schedule = #sparse.schedule<{}>,
      record = #sparse.record<{}>} : (tensor<1x8x12x12xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x12x12xf32>
  %v = arith.constant dense<1.0> : tensor<8x16xf32>
  %z = "sparse.linear"(%m, %v) {activation = "none", scheme = #sparse.dense,
      operandSegmentSizes = array<i32: 1, 1, 0>, schedule = #sparse.schedule<{}>, record = #sparse.record<{}>}
      : (tensor<1x16xf32>, tensor<8x16xf32>) -> tensor<1x8xf32>
  return %y, %z : tensor<1x8x12x12xf32>, tensor<1x8xf32>
}
"""
LAST = len(PREPARE) - 1 - PREPARE[::-1].index("sparse-look-up-schedules")
BEFORE_LAYERS, BEFORE_TILES = ("sparse-set-target{lanes=16}",), ("sparse-set-target{lanes=16}",
                                                                 *PREPARE[3:LAST])


def looked_up(path: Path, elements: tuple[str, ...], entries: dict[type, Schedule]) -> dict[type, Schedule]:
    """The schedules of layers, by class, behind the pass that finds ``entries`` for them."""
    with ir.Context() as context:
        register_dialect(context)
        root = ir.Module.parse(TEXT).operation
        _run(root, ",".join(elements))
        keys = {type(op): tile_key(op) if isinstance(op, PackedConvOp) else layer_key(op)
                for op in operations(root, *entries)}
        with Database(path) as kept:
            kept.confirm({keys[kind]: (schedule, 0.5) for kind, schedule in entries.items()}, Place("here"),
                         "net")
        _run(root, f'sparse-look-up-schedules{{database="{path}" device=here}}')
        return {type(op): schedule_of(op) for op in operations(root, *entries)}


def _run(root: ir.Operation, text: str) -> None:
    Runner(parse_pipeline(f"builtin.module({text})"), verify=False).run(root)


@pytest.mark.parametrize(("elements", "kind", "schedule"), [
    (BEFORE_LAYERS, ConvOp, Schedule(channel_block=4, filters_per_group=2, grid=(4, 4), by_chunk=False)),
    (BEFORE_LAYERS, LinearOp, Schedule(storage="dense_rows")),
    (BEFORE_TILES, PackedConvOp, Schedule(tile=(1, 1, 2))),
    (BEFORE_TILES, PackedConvOp, Schedule(tile=(1, 3, 2), prefetch=True))])
def test_what_can_be_is_used(tmp_path: Path, elements: tuple[str, ...], kind: Any,
                             schedule: Schedule) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = looked_up(tmp_path / "tuned", elements, {kind: schedule})[kind]
    assert found.filled(**vars(schedule)) == found


@pytest.mark.parametrize(("elements", "kind", "schedule", "reason"), [
    (BEFORE_LAYERS, ConvOp, Schedule(channel_block=3), "channel_block 3 of 8 channels"),
    (BEFORE_LAYERS, ConvOp, Schedule(filters_per_group=5), "filters_per_group 5 of 8 filters"),
    (BEFORE_LAYERS, ConvOp, Schedule(grid=(2, 2)), "a grid of 4 lanes, where vectors have 16"),
    (BEFORE_LAYERS, ConvOp, Schedule(tile=(1, 1, 2)), "tile without lane grids"),
    (BEFORE_LAYERS, ConvOp, Schedule(storage="sell"), "storage sell for a layer of scheme dense"),
    (BEFORE_LAYERS, ConvOp, Schedule(micro_kernel="pools"), "micro_kernel pools for a layer of"),
    (BEFORE_LAYERS, ConvOp, Schedule(filter_order=(0, 0, 1)), "a filter_order of other than 8 filters"),
    (BEFORE_LAYERS, LinearOp, Schedule(grid=(4, 4)), "grid for a layer that is no convolution"),
    (BEFORE_TILES, PackedConvOp, Schedule(tile=(1, 9, 9)), "lies outside of what this compiler offers"),
    (BEFORE_TILES, PackedConvOp, Schedule(sub_tile=(1, 1, 1)), "lies outside of what this compiler offers"),
    (BEFORE_TILES, PackedConvOp, Schedule(passes=3), "lies outside of what this compiler offers")])
def test_what_cannot_be_is_passed_over(tmp_path: Path, elements: tuple[str, ...], kind: Any,
                                       schedule: Schedule, reason: str) -> None:
    plain = looked_up(tmp_path / "none", elements, {kind: Schedule()})
    with pytest.warns(UserWarning, match=f"is passed over, the default stands: .*{reason}"):
        assert looked_up(tmp_path / "tuned", elements, {kind: schedule}) == plain


def test_what_compiles_not_at_all_is_compiled_without(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_up_schedules, "why_not", lambda *_: "")  # what nobody thought of
    path, target = tmp_path / "tuned", Target.host()
    with ir.Context() as context:
        register_dialect(context)
        module = ir.Module.parse(TEXT)
        with Database(path) as kept:
            key = layer_key(operations(module.operation, ConvOp)[0])
            kept.confirm({key: (Schedule(channel_block=3), 0.5)}, Place(target.machine), "net")
        with pytest.warns(UserWarning, match=r"(?s)not compile, the default's stand: .*channel_block that"):
            found = compile_linalg(module, CompileOptions(database=str(path)), target)
        plain = compile_linalg(ir.Module.parse(TEXT), CompileOptions(database=""), target)
    assert found.code == plain.code
