"""What of a long table of cases runs all day: one in so many; all of them in the whole suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def thinned(cases: Mapping[str, Any], every: int = 3) -> list[Any]:
    """``cases`` by name as pytest's parameters, all but one in ``every`` of them marked slow."""
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] if at % every else [])
            for at, (name, case) in enumerate(cases.items())]
