"""CONTRIBUTING's first patches, walked: a pass, a core and a micro-kernel.

A scheme: ``schemes/test_own_scheme.py``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import espalier
import numpy as np
import pytest
import torch
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.registry import Registry
from espalier.pipelines.runner import Runner
from espalier.pipelines.target import Target
from espalier.sparse_dialect.devices.cores import CORES
from espalier.sparse_dialect.dialect import register_dialect
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.schedule.families import FAMILIES
from support import own_family
from torch import nn

ROOT = Path(espalier.__file__).parent
PLUGIN = '''
from dataclasses import dataclass
from espalier.sparse_dialect.passes import Pass, option

@dataclass(frozen=True)
class CountOpsPass(Pass):
    """Counts the operations of the module."""

    name = "test-count-ops"
    twice: bool = option(False, "count each of them twice")

    def run(self, op, context):
        number = len(list(op.regions[0].blocks[0].operations))
        context.statistics["operations"] += number * (2 if self.twice else 1)
        print("counted", number)
'''


def test_a_pass_in_a_file_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "count_ops.py"
    file.write_text(PLUGIN)
    registry = Registry()
    registry.add_file(file)
    pipeline = parse_pipeline("builtin.module(test-count-ops{twice=true},cse)", registry)
    assert str(pipeline) == "builtin.module(test-count-ops{twice=true},cse)"
    with ir.Context() as context, ir.Location.unknown():
        register_dialect(context)
        module = ir.Module.parse("func.func @f() { return }\nfunc.func @g() { return }")
        Runner(pipeline).run(module.operation)
    assert capsys.readouterr().out == "counted 2\n"


def test_a_family_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduling, the check of names, code and the report know it by its line in the list."""
    package = "espalier.sparse_dialect.lowering.cpu.families"
    monkeypatch.setitem(sys.modules, f"{package}.own_family", own_family)
    known = dict(FAMILIES)
    FAMILIES.clear()  # its line comes first
    FAMILIES.update({"own_rows": "own_family.OwnRows"} | known)
    try:
        layer, x = nn.Linear(16, 8).eval(), torch.randn(2, 16)
        compiled = espalier.compile(layer, (x,))
        np.testing.assert_allclose(compiled(x.numpy()), layer(x).detach().numpy(), atol=1e-5)
    finally:
        FAMILIES.clear()
        FAMILIES.update(known)
    assert len(own_family.PLANNED) == 1


def lanes_of(core: str) -> int:
    """Vectors of which length the host runs, whatever the core that the code is shaped for."""
    return 4 if core.startswith("cortex") else Target.host().lanes


@pytest.mark.parametrize("core", CORES)
def test_a_layer_is_right_on_every_core(core: str) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3, padding=1).eval()
    with torch.no_grad():
        module.weight[:, ::2] = 0
        x = torch.randn(1, 6, 13, 11)
        expected = module(x).numpy()
    target = replace(Target.host(), core=core, lanes=lanes_of(core))
    (found,) = espalier.compile(module, (x,), target=target).run([x.numpy()])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_recipes_name_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = [path for path in re.findall(r"`((?:sparse_dialect|pipelines|test|docs)/[\w./]+)`", text)
             if "/my_" not in path and "/my-" not in path and "test_my_" not in path]
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []
