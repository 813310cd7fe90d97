"""``espalier calibrate``: figures are kept beside those of other machines, and predictions use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.pipelines.records import calibrated, clock_share
from espalier.pipelines.target import Target
from espalier.runtime.devices.device import Finished
from espalier.runtime.devices.local import LocalDevice
from espalier.sparse_dialect.devices.calibration import Calibration, as_text, calibrations
from espalier.tools.calibrate import measure
from espalier.tools.calibrate.on_device import _calibration
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


@pytest.mark.parametrize(("words", "error"), [
    (("--device", "toaster"), "expects one of host, adb:SERIAL, ssh:HOST, local, found 'toaster'"),
    (("--device", "qemu"), "an emulator's times are not those of the processor"),
    (("--device", "adb:R58"), "the device adb:R58 needs a --target"),
    (("--target", "aarch64-linux-gnu"), "the device host takes no --target"),
    (("--mcpu", "cortex-a76"), "--mcpu needs --target"),
    (("--device", "local", "--target", "vax-linux"), "unknown target 'vax-linux'"),
])
def test_devices_that_cannot_be_measured(espalier: CommandLine, words: tuple[str, ...], error: str) -> None:
    assert one_line(espalier("calibrate", *words), error)


@pytest.mark.parametrize("printed", ["", '{"gflops": 1}', '{"gflops": 1, "kib": 7, "gigabytes": 2}'])
def test_a_device_whose_report_is_incomplete(printed: str) -> None:
    class Silent(LocalDevice):
        def run(self, program: str, arguments: Sequence[str]) -> Finished:
            return Finished(0, printed, "")

    with pytest.raises(EspalierError, match="local: the program's report is incomplete"):
        _calibration(Silent("none"))
