"""The mutation test's list (``test/mutation/mutants.py``, run by hand) still fits the code and its tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load() -> Any:
    """The module, which lies beside the tests, not among them."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "test" / "mutation" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


MUTANTS = load().MUTANTS


def test_there_are_fifty_of_them() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_has_its_place_and_its_killers(mutant: Any) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.find) == 1
    assert mutant.find != mutant.replacement
    assert mutant.killers
    for killer in mutant.killers:
        assert (ROOT / killer.split("::")[0]).exists(), killer
