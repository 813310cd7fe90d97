"""The processors that a command runs on: ``--cpus 4-7,2``."""

from __future__ import annotations

import os
import re

from ..errors import EspalierError


def cpus_of(text: str) -> list[int]:
    """``4-7,2`` as numbers, ascending and without repeats; EspalierError for anything else."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise EspalierError(f"--cpus expects processors such as 4-7,2, found '{text}'")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def pin(text: str) -> None:
    """Has this thread, and those that it starts from now on, run on these processors only; all the same where
    ``text`` is empty. Raises EspalierError for a processor that is not there, or not this process's."""
    if not text:
        return
    wanted = cpus_of(text)
    if not hasattr(os, "sched_setaffinity"):
        raise EspalierError("--cpus needs Linux")
    allowed = os.sched_getaffinity(0)
    if missing := [cpu for cpu in wanted if cpu not in allowed]:
        raise EspalierError(f"--cpus: there is no processor {missing[0]} for this process, "
                            f"which may use {', '.join(map(str, sorted(allowed)))}")
    os.sched_setaffinity(0, wanted)
