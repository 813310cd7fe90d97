"""``compile`` refuses code that does not compute what PyTorch recorded, and names the layer at fault."""

from __future__ import annotations

from pathlib import Path

import espalier
import pytest
import torch
from espalier.errors import EspalierError
from espalier.sparse_dialect.lowering.cpu.emit import formula
from espalier.sparse_dialect.lowering.cpu.emit.builder import RunningMaximum
from support.command_line import CommandLine, one_line
from torch import nn

UNCHECKED = espalier.CompileOptions(check=False)


@pytest.fixture
def network() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8),
                           nn.Hardswish(), nn.Conv2d(8, 4, 1), nn.MaxPool2d(3, 2, 1), nn.Flatten(),
                           nn.Linear(64, 5))
    return module.eval(), torch.randn(1, 3, 9, 9)


@pytest.fixture
def wrong_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels whose activation adds wrongly: hard-swish alone adds."""
    right = formula._SIMPLE["add"]
    monkeypatch.setitem(formula._SIMPLE, "add", lambda b, x, y: right(b, x, x))


def test_what_is_right_is_handed_out(network: tuple[nn.Module, torch.Tensor]) -> None:
    module, x = network
    assert espalier.compile(module, (x,)).check() < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_sums")
def test_refusal_names_the_first_layer_that_differs(network: tuple[nn.Module, torch.Tensor]) -> None:
    module, x = network
    with pytest.raises(EspalierError, match=r"first layer that differs is '2' \(conv, 8 -> 8 3x3 groups 8"):
        espalier.compile(module, (x,))
    assert espalier.compile(module, (x,), options=UNCHECKED).check() > 1e-2


def test_what_is_no_layer_is_told_apart(network: tuple[nn.Module, torch.Tensor],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool: with every layer by the reference the numbers are as wrong."""
    module, x = network
    monkeypatch.setattr(RunningMaximum, "result", lambda self: self._last)
    with pytest.raises(EspalierError, match=r"no layer's kernel does"):
        espalier.compile(module, (x,))


@pytest.mark.slow
@pytest.mark.usefixtures("wrong_sums")
def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "net.py"
    source.write_text("""import torch
from torch import nn
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish()), (torch.randn(1, 3, 9, 9),)
""")
    run = CommandLine(monkeypatch, capsys)
    target = tmp_path / "net.espalier"
    assert one_line(run("compile", f"{source}:net", "-o", target), "the first layer that differs is '0'")
    assert not target.exists()
    assert run("compile", f"{source}:net", "-o", target, "--no-check").code == 0
    assert target.exists()
