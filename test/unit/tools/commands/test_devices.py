"""``espalier devices``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from espalier.runtime.executors.vulkan import GpuInfo
from support.command_line import CommandLine, one_line
from support.vulkan import DRIVERS, on_each_device


@on_each_device
def test_devices(driver: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    result = CommandLine(monkeypatch, capsys)("devices")
    assert result.code == 0, result.err
    assert "vulkan:0" in result.out
    assert "software" in result.out
    assert "generic, adreno, adreno6, mali" in " ".join(result.out.split())


def test_what_does_not_fit() -> None:
    fits = GpuInfo("x", "x", "1.1.0", "integrated", 1 << 30, True, 64, 8, 128, 1 << 14, 1 << 27)
    assert fits.misfit() == ""
    assert replace(fits, storage_buffers=4).misfit() == "needs 8 storage buffers of a kernel, has 4"
    assert replace(fits, workgroup=32).misfit() == "needs 64 threads of a workgroup, has 32"
    assert replace(fits, version="1.0.9").misfit() == "needs Vulkan 1.1, has 1.0.9"


def test_no_driver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nothing.json")
    assert one_line(CommandLine(monkeypatch, capsys)("devices"), "no Vulkan driver", "/nothing.json")
