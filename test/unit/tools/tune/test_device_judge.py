"""Times on a device behind a fake adb: what programs report is judged, and what fails is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.tools.tune import device_judge
from espalier.tools.tune.apart import CRASH, HANG, IMPOSSIBLE, LATE, LOST, OK
from espalier.tools.tune.device_judge import DeviceJudge
from support.fake_model import X, affine, affine_file

HERE = {"name": "here", "triple": "here-linux-gnu", "cpu": "fake-a1"}


class Network(SimpleNamespace):
    """A network whose programs are shell scripts: they copy outputs and print times of ``[conv]``."""

    def __init__(self, folder: Path) -> None:
        for number, array in enumerate(affine(X)):
            np.save(folder / f"y{number}.npy", array)
        self.folder = folder
        super().__init__(file=self.program(2.0), inputs=[X], target=None,
                         default=SimpleNamespace(layers=[SimpleNamespace(name="[conv]")]))
        self.tuned = self.program(1.0)

    def program(self, ms: float, *lines: str) -> Any:
        copies = ("n=0", "for word in $*", "do",
                  f'[ "$last" = --output ] && cp {self.folder}/y$n.npy $word && n=1', "last=$word", "done")
        parts = [f'echo \'{{"label": "[conv]", "ms": {part}}}\'' for part in (ms / 4, ms / 2)]
        times = f'echo \'{{"threads": 1, "runs": 3, "median_ms": {ms}, "min_ms": {ms - 0.5}, "max_ms": 9}}\''
        text = "\n".join(("#!/bin/sh", *lines, *copies, *parts, times, ""))
        return affine_file(runner=text.encode(), target=HERE)

    def compiled(self, schedules: Any) -> Any:
        return self.tuned


@pytest.fixture
def network(tmp_path: Path, phone: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(device_judge, "cross_compiled", lambda made, target, name: made)
    monkeypatch.setattr(device_judge, "FEWEST_TURNS", 1)
    return Network(tmp_path)


def test_layers_and_whole_networks_are_judged(network: Any, phone: Path) -> None:
    with DeviceJudge(network, "adb:R58", 1) as judge:
        assert len(list(phone.iterdir())) == 1
        assert judge.measure({}, 0.0, 60.0).value == {"[conv]": (pytest.approx(0.75e-3),
                                                                 pytest.approx(1.5e-3))}
        found = judge.confirm({}, 0.0, 60.0).value
        assert (found.tuned, found.default, found.ratio) == pytest.approx((0.5e-3, 1.5e-3, 0.5))
        assert (found.won, found.faster) == (1.0, True)
        assert judge.measure({}, 0.1, 0.01).state == LATE
    assert not list(phone.iterdir())


@pytest.mark.parametrize(("lines", "state", "reason"), [
    (["kill -SEGV $$"], CRASH, "adb:R58: signal SIGSEGV ended the program"),
    (["while true; do true; done"], CRASH, "adb:R58: signal SIG"),  # its processor seconds are over
    (["echo 'runner: no memory' >&2", "exit 1"], IMPOSSIBLE, "adb:R58: no memory"),
    (["alias echo=true"], IMPOSSIBLE, "adb:R58: the program's report is incomplete"),
])
def test_programs_that_fail(network: Any, lines: list[str], state: str, reason: str) -> None:
    with DeviceJudge(network, "adb:R58", 1) as judge:
        judge.device.limit_s = 1
        network.tuned = network.program(1.0, *lines)
        found = judge.measure({}, 0.0, 60.0)
        assert (found.state, found.reason.startswith(reason)) == (state, True), found
        network.tuned = network.program(1.0)
        assert judge.measure({}, 0.0, 60.0).state == OK  # the device is still there


def test_other_outputs_are_wrong(network: Any, tmp_path: Path) -> None:
    with DeviceJudge(network, "adb:R58", 1) as judge:
        np.save(tmp_path / "y0.npy", affine(X)[0] + 1)
        found = judge.measure({}, 0.0, 60.0)
        assert (found.state, found.reason.startswith("wrong: outputs differ")) == (IMPOSSIBLE, True)


def test_a_program_that_hangs_and_a_device_that_does(network: Any, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    with DeviceJudge(network, "adb:R58", 1) as judge:
        monkeypatch.setattr(device_judge, "LIMIT_S", 1.0)
        monkeypatch.setattr(device_judge, "PING_S", 5.0)
        network.tuned = network.program(1.0, "sleep 60")
        assert judge.measure({}, 0.0, 60.0).state == HANG
        (tmp_path / "mode").write_text("hang")
        monkeypatch.setattr(device_judge, "PING_S", 0.5)
        found = judge.measure({}, 0.0, 60.0)
        assert (found.state, found.reason) == (LOST, "adb:R58: it does not answer any more")
        (tmp_path / "mode").write_text("none")


@pytest.mark.parametrize("mode", ["shell", "push"])
def test_a_device_that_vanishes(network: Any, tmp_path: Path, mode: str) -> None:
    with DeviceJudge(network, "adb:R58", 1) as judge:
        (tmp_path / "mode").write_text(mode)
        found = judge.measure({}, 0.0, 60.0)
        assert (found.state, found.reason.startswith("adb:R58: ")) == (LOST, True)


def test_a_device_that_is_not_there_or_computes_something_else(network: Any,
                                                               phone: Path) -> None:
    with pytest.raises(EspalierError, match="adb:S99: cannot be reached"), \
            DeviceJudge(network, "adb:S99", 1):
        pass
    network.file = replace(network.file, sample_outputs=[array + 1 for array in affine(X)])
    with pytest.raises(EspalierError, match="adb:R58: the outputs differ from the recorded ones"), \
            DeviceJudge(network, "adb:R58", 1):
        pass
    assert not list(phone.iterdir())
