"""The mutation test's list (``test/mutation/mutants.py``, run by hand) still fits the code and its tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

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


def test_each_has_its_place_and_its_killers() -> None:
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.find) == 1, mutant.name
        assert mutant.find != mutant.replacement, mutant.name
        assert mutant.killers, mutant.name
        for killer in mutant.killers:
            assert (ROOT / killer.split("::")[0]).exists(), killer
