"""The tiers of the unit tests (``support/tiers.py``), and how many threads PyTorch takes."""

from __future__ import annotations

import gc
import os

import pytest
from support import tiers
from support.fake_adb import phone  # noqa: F401

# Workers are as many as cores: PyTorch's own threads would only wait for one another. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(20_000, 50, 100)  # as the command line does it


def pytest_configure(config: pytest.Config) -> None:
    tiers.choose(config.option.markexpr)


@pytest.hookimpl(trylast=True)  # behind the choice by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr != tiers.FAST:
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {item for of_test in cases.values() for item in tiers.spread(of_test)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]
