"""The fast tier, ``pytest -m "not slow"``: a cross-section of everything that is quick. Of a test with many
cases it runs one, and of Hypothesis' examples a tenth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

FAST = "not slow"  # the expression of marks that chooses it
MOST = 1  # cases of one test
FEWEST = 5  # examples of one test
_VARIABLE = "ESPALIER_FAST_TIER"  # for test modules and children

T = TypeVar("T")


def choose(expression: str) -> None:
    """Says for this process and its children whether the tier is the fast one."""
    if expression == FAST:
        os.environ[_VARIABLE] = "1"
    else:
        os.environ.pop(_VARIABLE, None)


def spread(cases: Sequence[T], most: int = MOST) -> Sequence[T]:
    """At most that many of ``cases``, evenly spread with the first and the last; one alone is the middle."""
    if len(cases) <= most:
        return cases
    if most == 1:
        return [cases[len(cases) // 2]]
    return [cases[at * (len(cases) - 1) // (most - 1)] for at in range(most)]


def examples(count: int) -> int:
    """How many examples Hypothesis draws where the whole suite draws ``count``."""
    return max(FEWEST, count // 10) if _VARIABLE in os.environ else count
