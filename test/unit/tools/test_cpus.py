"""``--cpus``: the processors that a command runs on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from espalier.errors import EspalierError
from espalier.tools.cpus import cpus_of, pin


def in_thread(work: Callable[[], Any]) -> Any:
    """What ``work`` gives on a thread of its own, whose processors are nobody else's."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except EspalierError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("text", "numbers"), [("3", [3]), ("4-7,2", [2, 4, 5, 6, 7]), ("1, 0-2", [0, 1, 2])])
def test_lists(text: str, numbers: list[int]) -> None:
    assert cpus_of(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "1.5", "99999"])
def test_no_lists(text: str) -> None:
    with pytest.raises(EspalierError, match="--cpus expects processors such as 4-7,2"):
        cpus_of(text)


def test_one_processor() -> None:
    one = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    assert in_thread(lambda: (pin(str(one)), os.sched_getaffinity(0))[1]) == {one}
    assert in_thread(lambda: (pin(""), os.sched_getaffinity(0))[1]) == before


def test_a_processor_that_is_not_there() -> None:
    error = in_thread(lambda: pin("0,8000"))
    assert isinstance(error, EspalierError)
    assert "there is no processor 8000 for this process" in str(error)
