"""Work in a process of its own: however it ends, this process hears of it in one value."""

from __future__ import annotations

import os
import signal
import time

import pytest
from espalier.errors import EspalierError
from espalier.runtime.devices import DeviceError, ProgramCrashed
from espalier.tools.tune.apart import CRASH, HANG, IMPOSSIBLE, LOST, OK, Outcome, run_apart


def test_a_value_comes_back() -> None:
    assert run_apart(lambda: {"pid": os.getpid()}, 30).value["pid"] != os.getpid()


def test_an_error_of_ours_is_its_reason() -> None:
    def work() -> None:
        raise EspalierError("a tile that registers do not hold")

    assert run_apart(work, 30) == Outcome(IMPOSSIBLE, None, "a tile that registers do not hold")


@pytest.mark.parametrize(("error", "state"), [(DeviceError("offline"), LOST),
                                              (ProgramCrashed("SIGSEGV"), CRASH)])
def test_a_device_that_fails_and_a_program_that_does(error: EspalierError, state: str) -> None:
    def work() -> None:
        raise error

    assert run_apart(work, 30) == Outcome(state, None, str(error))


def test_any_other_error_is_a_crash() -> None:
    assert run_apart(lambda: 1 // 0, 30) == Outcome(
        CRASH, None, "ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.parametrize("end", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_dies(end: signal.Signals) -> None:
    found = run_apart(lambda: os.kill(os.getpid(), end), 30)
    assert found == Outcome(CRASH, None, f"it was killed by {end.name}")


def test_a_process_that_ends_without_a_word() -> None:
    assert run_apart(lambda: os._exit(7), 30) == Outcome(CRASH, None, "it ended with code 7")


def test_a_process_that_hangs_is_ended() -> None:
    assert run_apart(lambda: time.sleep(600), 0.3).state == HANG


def test_what_it_prints_disturbs_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_apart(lambda: print("noise", flush=True), 30).state == OK
    assert capfd.readouterr().out == ""
