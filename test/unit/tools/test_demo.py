"""``make demo``, on a smaller network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from espalier.tools import demo


@pytest.mark.slow
def test_the_main_job_on_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--model", "mobilenet_v2", "--folder", str(tmp_path), "--runs", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    code = demo.main()
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "faster than dense PyTorch on one core" in said.out
    assert (tmp_path / "report.html").exists()
