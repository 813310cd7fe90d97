"""Work in a process of its own: what crashes or hangs there takes nothing else with it."""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection
from typing import Any

from ...errors import EspalierError
from ...runtime.devices import DeviceError, ProgramCrashed

OK, CRASH, HANG, IMPOSSIBLE = "ok", "crash", "hang", "impossible"
LATE, LOST = "late", "lost"  # the command's time was over, the device is: neither says anything of the work
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Outcome:
    """How work ended: ``state`` is OK with its ``value``, LATE, or CRASH, HANG, IMPOSSIBLE or LOST with a
    ``reason``."""

    state: str
    value: Any = None
    reason: str = ""


def run_apart(work: Callable[[], Any], seconds: float, at_most: float = inf) -> Outcome:
    """
    ``work()`` in a child of fork, which finds all that this process holds; HANG after so many ``seconds``,
    LATE after ``at_most``. It ends with this process, however that ends.

    Its value must be picklable. A ``DeviceError`` is LOST, another ``EspalierError`` IMPOSSIBLE, any other
    end without a value CRASH.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, theirs, os.getpid()), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(min(seconds, at_most)):
            if at_most < seconds:
                return Outcome(LATE)
            return Outcome(HANG, reason=f"it did not end within {seconds:.0f} s")
        return Outcome(*ours.recv())
    except EOFError:
        child.join(5)
        return Outcome(CRASH, reason=_ending(child.exitcode))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid or 0, signal.SIGKILL)  # with what it started: an emulator, a linker
        child.kill()
        child.join()
        ours.close()


def _ending(code: int | None) -> str:
    """How a process ended that sent nothing."""
    if code is not None and code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with code {code}"


def _child(work: Callable[[], Any], answer: Connection, parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before that
            os._exit(1)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits, which ends this one
    faulthandler.disable()
    sys.stdout = sys.stderr = open(os.devnull, "w")  # what Python prints, and below what code of others does
    for stream in (1, 2):
        os.dup2(sys.stdout.fileno(), stream)
    try:
        answer.send((OK, work()))
    except DeviceError as error:
        answer.send((LOST, None, str(error)))
    except ProgramCrashed as error:
        answer.send((CRASH, None, str(error)))
    except EspalierError as error:
        answer.send((IMPOSSIBLE, None, str(error)))
    except BaseException as error:
        answer.send((CRASH, None, f"{type(error).__name__}: {error}"))
    finally:
        os._exit(0)  # nothing of the parent's is to be ended here
