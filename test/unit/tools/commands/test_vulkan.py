"""``espalier compile --target vulkan`` and ``espalier run --device vulkan``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import CommandLine, one_line
from support.vulkan import DRIVERS, on_each_device

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, 2, 1))
    return model.eval(), (torch.randn(1, 3, 13, 18),)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vulkan")
    (folder / "net.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["espalier", "compile", f"{folder / 'net.py'}:net", "--target", "vulkan",
                                   "-o", str(folder / "net.espalier")])
        from espalier.tools.espalier import main

        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code in (0, None)
    return folder / "net.espalier"


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@on_each_device
def test_check_and_run(driver: str, compiled: Path, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch,
                       tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    checked = espalier("run", compiled, "--device", "vulkan:0", "--check")
    assert checked.code == 0, checked.err
    assert "check passed" in checked.out
    np.save(tmp_path / "x.npy", np.ones((1, 3, 13, 18), np.float32))
    ran = espalier("run", compiled, "--device", "vulkan", "--input", tmp_path / "x.npy", "--output",
                   tmp_path / "y.npy", "--repeat", "2")
    assert ran.code == 0, ran.err
    assert np.load(tmp_path / "y.npy").shape == (1, 6, 3, 5)


@on_each_device
def test_wrong_uses(driver: str, compiled: Path, espalier: CommandLine, monkeypatch: pytest.MonkeyPatch,
                    tmp_path: Path) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    np.save(tmp_path / "x.npy", np.ones((1, 3, 13, 17), np.float32))
    for arguments, message in (
            (("--check", "--device", "vulkan:9"), "no Vulkan device 9"),
            (("--check", "--device", "vulkan:one"), "unknown device 'vulkan:one'"),
            (("--check", "--device", "qemu"), "compiled for a GPU"),
            (("--check",), "a GPU (--device vulkan)"),
            (("--check", "--device", "vulkan", "--threads", "2"), "no --threads"),
            (("--input", tmp_path / "x.npy", "--device", "vulkan"), "found 1x3x13x17")):
        assert one_line(espalier("run", compiled, *arguments), message)


def test_a_cpu_model_on_a_gpu(espalier: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    file = tmp_path / "cpu.espalier"
    assert espalier("compile", f"{tmp_path / 'net.py'}:net", "-o", file).code == 0
    result = espalier("run", file, "--device", "vulkan", "--check")
    assert one_line(result, "not for a GPU", "--target vulkan")
