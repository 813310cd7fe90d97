"""``espalier devices``."""

from __future__ import annotations

import pytest
from support.command_line import CommandLine, one_line
from support.vulkan import DRIVERS, on_each_device


@on_each_device
def test_devices(driver: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS[driver]))
    result = CommandLine(monkeypatch, capsys)("devices")
    assert result.code == 0, result.err
    assert "vulkan:0" in result.out
    assert "software" in result.out


def test_no_driver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nothing.json")
    assert one_line(CommandLine(monkeypatch, capsys)("devices"), "no Vulkan driver", "/nothing.json")
