"""What is heard of a child process: its objects in order, and its silence."""

from __future__ import annotations

import subprocess
import sys

import pytest
from espalier.tools.heard import heard


def child(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_objects_are_heard_and_other_lines_passed_over() -> None:
    speaker = child("print('{\"a\": 1}'); print('noise'); print('{\"b\": [2]}')")
    assert list(heard(speaker, 60)) == [{"a": 1}, {"b": [2]}]
    assert speaker.wait() == 0


def test_a_silent_child_is_killed() -> None:
    speaker = child("print('{\"a\": 1}', flush=True); import time; time.sleep(600)")
    with pytest.raises(TimeoutError):
        list(heard(speaker, 2))
    assert speaker.poll() is not None
