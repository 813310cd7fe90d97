"""Calibrations in the user's configuration: they come back, and a damaged file stops nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.devices.calibration import Calibration, as_text, calibrations, checked

KNOWN = {"a CPU": Calibration(100.0, 10.0, {"16": 200.0})}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert calibrations(path) == {}
    path.write_text(as_text(KNOWN))
    assert calibrations(path) == KNOWN


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": {}}', '{"x": {"gflops": 0, "gigabytes": 1}}',
                                  '{"x": {"gflops": "fast", "gigabytes": 1}}', '{"x": 7}'])
def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.warns(UserWarning, match="espalier calibrate writes it anew"):
        assert calibrations(path) == {}


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_figures_that_no_machine_has(value: float) -> None:
    with pytest.raises(EspalierError, match="clock of this machine"):
        checked(value, "multiply-adds")
