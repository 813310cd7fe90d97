"""Executors in a child of fork: it has none of the parent's other threads, perhaps a lock that one held."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Executor(Protocol):
    """What has threads or locks."""

    def after_fork(self) -> None:
        """Forgets threads and locks of the parent; called in the child, before anything else runs."""


_executors: weakref.WeakSet[Executor] = weakref.WeakSet()


def renew_after_fork(executor: Executor) -> None:
    """Has ``after_fork`` called in every child of fork while ``executor`` lives."""
    _executors.add(executor)


def _after_fork() -> None:
    for executor in list(_executors):
        executor.after_fork()


os.register_at_fork(after_in_child=_after_fork)
