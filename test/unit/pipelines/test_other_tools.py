"""Other compilers' tools read what stands between our passes, with the dialect's IRDL and no Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import espalier
import pytest
import torch
from espalier.frontends.torch.import_torch import import_module
from espalier.pipelines.named import ARENA, BUFFERS, LLVM, PREPARE, VECTOR
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.runner import Runner
from torch import nn

STAGES = {"sparse": PREPARE, "vector": VECTOR, "buffers": BUFFERS, "arena": ARENA, "llvm": LLVM}


class Net(nn.Module):
    """A pruned convolution, a residual one, pooling, a linear layer and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.rnn, self.head = nn.GRU(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).relu()
        y = nn.functional.max_pool2d((self.second(y) + y).relu(), 2)
        return self.head(self.rnn(y.mean((2, 3))[None])[0]).softmax(-1)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The whole module behind every stage, in generic form, and on tensors as we print it."""
    torch.manual_seed(0)
    net = Net().eval()
    espalier.prune(net, "pattern:entries=4,patterns=4,connectivity=2", only="second")
    module = import_module(net, torch.ones(1, 3, 8, 8))
    folder, found = tmp_path_factory.mktemp("dumps"), {}
    for name, elements in STAGES.items():
        Runner(parse_pipeline(f"builtin.module({','.join(elements)})"), verify=False).run(module.operation)
        found[name] = folder / f"{name}.mlir"
        found[name].write_text(module.operation.get_asm(print_generic_op_form=True))
        if name == "sparse":
            found["pretty"] = folder / "pretty.mlir"
            found["pretty"].write_text(module.operation.get_asm())
    return found


def tool(*names: str) -> str:
    """The path of a tool, beside Python or on PATH; the test is skipped, saying so, where it is missing."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        pytest.skip(f"{' or '.join(names)} is missing")
    return found


def reads(command: list[Any]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("stage", ["pretty", *STAGES])
def test_mlir_opt(stage: str, dumps: dict[str, Path]) -> None:
    """LLVM 22's (Debian: mlir-22-tools), as it is."""
    reads([tool("mlir-opt-22"), f"--irdl-file={espalier.irdl_path()}", dumps[stage], "-o", "/dev/null"])


@pytest.mark.parametrize("stage", ["pretty", "sparse", "vector", "buffers", "arena"])
def test_iree_opt(stage: str, dumps: dict[str, Path]) -> None:
    """IREE's wheel, up to bufferization: its LLVM dialect wants other constants."""
    reads([tool("iree-opt"), f"--irdl-file={espalier.irdl_path()}", dumps[stage], "-o", "/dev/null"])
