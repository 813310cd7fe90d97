"""Single operations: what counts as fast enough, and that every case says what it compares."""

from __future__ import annotations

import pytest
import torch
from espalier.frontends.compile import compile_model
from espalier.tools.bench.alone import SIZES, Case, Timed, cases, difference, timed
from espalier.tools.single_operations import summary


def a_case(name: str = "tanh") -> Case:
    return next(case for case in cases() if case.name == name)


@pytest.mark.parametrize(("name", "ours", "theirs", "meets"), [
    ("tanh", [1.0, 2.0], [1.0, 2.0], True), ("tanh", [1.2, 2.4], [1.0, 2.0], False),
    ("tanh", [1.2, 1.9, 9.0], [1.0, 2.0, 2.0], True), ("sort", [1.9, 1.9], [1.0, 1.0], True),
    ("sort one row", [2.3, 2.3], [1.0, 1.0], False)])
def test_no_slower_is_by_minimum_or_median(name: str, ours: list[float], theirs: list[float],
                                           meets: bool) -> None:
    found = Timed(a_case(name), ours, theirs)
    assert found.meets is meets
    assert ("slower" in str(found)) is not meets
    assert f"{0 if meets else 1} slower" in summary([found])


def test_names_are_of_one_case_and_numbers_come_from_them() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) > 80
    first, second = (a_case("gather").drawn(SIZES["odd"]) for _ in range(2))
    assert all(map(torch.equal, first, second))


def test_every_case_runs_in_all_sizes_by_pytorch() -> None:
    for case in cases():
        with torch.no_grad():
            case.function(*case.drawn(SIZES["odd"]))


def test_a_wrong_answer_shows() -> None:
    case = a_case("softplus")
    inputs = case.drawn(SIZES["odd"])
    compiled = compile_model(case.module(), inputs)
    assert difference(case, compiled, inputs) < 1e-5
    assert difference(a_case("silu"), compiled, inputs) > 1e-2
    assert len(timed(case, compiled, inputs, 1e-6).ours) >= 15
