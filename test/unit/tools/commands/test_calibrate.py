"""``espalier calibrate``: figures are kept beside those of other machines, and predictions use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from espalier.pipelines.records import calibrated, clock_share
from espalier.pipelines.target import Target
from espalier.sparse_dialect.devices.calibration import Calibration, as_text, calibrations
from espalier.tools.calibrate import measure
from support.command_line import CommandLine, one_line


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
             tmp_path: Path) -> CommandLine:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(measure, "REPEATS", 1)
    return CommandLine(monkeypatch, capsys)


@pytest.mark.slow
def test_this_machine_is_measured_and_others_stay(espalier: CommandLine, tmp_path: Path) -> None:
    path, host = tmp_path / "espalier" / "calibration.json", Target.host()
    path.parent.mkdir()
    other = {"another": Calibration(7.0, 3.0)}
    path.write_text(as_text(other))
    assert not calibrated(host)
    assert clock_share(host, host.device) == 1.0
    result = espalier("calibrate")
    assert result.code == 0, result.err
    known = calibrations(path)
    assert known["another"] == other["another"]
    mine = known[host.machine]
    assert set(mine.levels) == {str(kib) for kib in measure.LEVELS}
    core = host.device.costs
    documented = 2e-9 * host.lanes * core.hertz / core.multiply
    assert clock_share(host, host.device) == pytest.approx(mine.gflops / documented)
    assert clock_share(Target.vulkan(), host.device) == 1.0


def test_an_unknown_device(espalier: CommandLine) -> None:
    assert one_line(espalier("calibrate", "--device", "toaster"), "expects one of host, found 'toaster'")
