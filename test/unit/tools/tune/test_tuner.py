"""The tuner's loop, with a judge that computes costs: faults are marked, nothing finished is lost, and only
what is confirmed is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.devices.cores import core_named
from espalier.sparse_dialect.geometry.window import Window
from espalier.sparse_dialect.schedule.candidates import Space
from espalier.sparse_dialect.schedule.database import Database, Place, confirmed
from espalier.sparse_dialect.schedule.schedule import Schedule
from espalier.tools.tune.apart import CRASH, IMPOSSIBLE, LATE, LOST, OK, Outcome
from espalier.tools.tune.budget import ROUND_S, Budget, Limits
from espalier.tools.tune.features import Layer
from espalier.tools.tune.grids import Classes
from espalier.tools.tune.judge import Measure, Verdict
from espalier.tools.tune.network import Unit
from espalier.tools.tune.tuner import Result, Tuner
from espalier.tools.tune.workers import Farm, Here

PLACE = Place("a CPU", 1, "1.0")
SPACE = Space.around(Schedule(channel_block=32, tile=(1, 2, 2)), {
    "channel_block": [16, 32, 64, 128], "tile.0": [1], "tile.1": range(1, 9), "tile.2": range(1, 9)})
LAYER = Layer({"channels": 256.0, "filters": 64.0, "groups": 1.0, "places": 9.0, "entries": 4.0, "dense": 0.0,
               "kept": 0.2}, Schedule(channel_block=32, tile=(1, 2, 2)), core_named("avx512"), (1, 8, 8),
              Window.of((3, 3), (1, 1), (1, 1)))
TIME = Measure("time")
BEST = Schedule(channel_block=64, tile=(1, 4, 5))


def cost(schedule: Schedule) -> float:
    _, rows, columns = schedule.tile or (1, 2, 2)
    return 1e-3 * (1 + abs(rows - 4) + abs(columns - 5) + abs((schedule.channel_block or 32) - 64) / 16)


class Network(SimpleNamespace):
    """Two keys: one of two layers, one of a layer whose time is measured under another's name."""

    def __init__(self) -> None:
        units = [Unit("conv", {"a": ("a",), "b": ("b",)}, SPACE, LAYER, 200),
                 Unit("fused", {"c": ("d", "c")}, SPACE, LAYER, 100)]
        super().__init__(name="net", grids={}, units=units)

    def classes(self) -> Classes:
        return Classes((), {}, ())

    def complete(self, schedules: Mapping[str, Schedule]) -> Mapping[str, Schedule]:
        return schedules

    def keys_with(self, schedules: Mapping[str, Schedule]) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {name: f"tile of {name}" for name in schedules}


class FakeJudge:
    def __init__(self, fault: Callable[[Schedule], str] = lambda schedule: "", whole: float = 0.5) -> None:
        self.fault, self.whole, self.asked = fault, whole, 0

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        self.asked += 1
        for schedule in schedules.values():
            if state := self.fault(schedule):
                return Outcome(state, reason="so it is")
        default = cost(SPACE.schedule(SPACE.default))
        costs = {"c": (0.0, 0.0), **{clock: (default, default) for clock in "abdef"}}
        for name, schedule in schedules.items():
            costs[{"c": "d"}.get(name, name)] = cost(schedule), default
        return Outcome(OK, costs)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return Outcome(OK, Verdict(self.whole, 1.0, self.whole, 1.0 if self.whole < 1 else 0.0))


def farm(*judges: Any) -> Farm:
    return Farm([Here(judge, f"judge {number}") for number, judge in enumerate(judges)])


def tuned(path: Path, judge: Any, trials: int = 120, seconds: float = 100.0) -> Result:
    network: Any = Network()
    with Database(path) as kept:
        return Tuner(network, farm(judge), TIME, kept, PLACE, Limits(trials, "ga", 1), Budget(seconds)).run()


def test_the_best_is_found_and_kept_by_layer_and_by_grids(tmp_path: Path) -> None:
    result = tuned(tmp_path / "t", FakeJudge())
    assert {key: schedule for key, (schedule, _) in result.chosen.items()} == {"conv": BEST, "fused": BEST}
    early, late = Schedule(channel_block=64), Schedule(tile=(1, 4, 5))
    assert confirmed(tmp_path / "t", PLACE) == {
        "conv": early, "fused": early, "tile of a": late, "tile of b": late, "tile of c": late}


def test_what_the_whole_network_does_not_confirm_is_not_kept(tmp_path: Path) -> None:
    result = tuned(tmp_path / "t", FakeJudge(whole=1.01))
    assert (result.chosen, confirmed(tmp_path / "t", PLACE)) == ({}, {})
    assert result.verdict is not None


@pytest.mark.parametrize("state", [CRASH, "hang", IMPOSSIBLE])
def test_a_schedule_that_does_not_run_is_marked_and_the_others_are_measured(tmp_path: Path,
                                                                            state: str) -> None:
    judge = FakeJudge(lambda schedule: state if schedule.channel_block == 128 else "")
    result = tuned(tmp_path / "t", judge, trials=40)
    assert result.failed
    with Database(tmp_path / "t") as kept:
        for trial in kept.trials(PLACE):
            assert trial.state == (state if trial.schedule.channel_block == 128 else OK)
    assert tuned(tmp_path / "t", judge, trials=40).failed == 0  # none is tried twice


def test_a_device_that_vanishes_leaves_only_marks(tmp_path: Path) -> None:
    result = tuned(tmp_path / "t", FakeJudge(lambda schedule: CRASH), trials=3)
    assert result.chosen == {}
    assert result.failed == result.trials > 0


def test_a_device_that_is_lost_ends_the_search_and_marks_nothing(tmp_path: Path) -> None:
    class Leaving(FakeJudge):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            found = super().measure(schedules, seconds, at_most)
            return found if self.asked < 4 else Outcome(LOST, reason="adb:R58: offline")

    with pytest.raises(EspalierError, match="adb:R58: offline; what was finished is kept: run it again"):
        tuned(tmp_path / "t", Leaving())
    with Database(tmp_path / "t") as kept:
        assert [trial.state for trial in kept.trials(PLACE)] == [OK] * 9
    assert tuned(tmp_path / "t", FakeJudge()).reused == 9


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    first = tuned(tmp_path / "t", FakeJudge(), trials=20)
    second = tuned(tmp_path / "t", FakeJudge(), trials=20)
    assert (second.trials, second.reused) == (0, first.trials)
    assert second.chosen == first.chosen


def test_ctrl_c_keeps_what_was_found(tmp_path: Path) -> None:
    class Interrupted(FakeJudge):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            if self.asked == 25:
                self.asked += 1
                raise KeyboardInterrupt
            return super().measure(schedules, seconds, at_most)

    result = tuned(tmp_path / "t", Interrupted())
    assert result.chosen
    with Database(tmp_path / "t") as kept:
        assert len(kept.trials(PLACE)) == result.trials > 25


class Slow(FakeJudge):
    """Each measurement takes ``takes`` seconds, and stops where it may take no longer."""

    def __init__(self, takes: float) -> None:
        super().__init__()
        self.takes = takes

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        time.sleep(min(self.takes, at_most))
        return super().measure(schedules, seconds, at_most) if self.takes < at_most else Outcome(LATE)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        time.sleep(min(seconds, at_most))
        return super().confirm(schedules, seconds, at_most) if seconds < at_most else Outcome(LATE)


@pytest.mark.parametrize("seconds", [0.01, 1.7])
def test_a_time_that_is_too_short_for_one_round(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(EspalierError, match=r"--time .* is too little for one round of trials.*give it"):
        tuned(tmp_path / "t", Slow(10.0), seconds=seconds)


def test_all_ends_in_time_and_confirming_has_its_share(tmp_path: Path) -> None:
    result = tuned(tmp_path / "t", Slow(0.05), trials=10**6, seconds=2.5)
    assert result.chosen
    assert 3 < result.trials < 10**6


def test_what_there_is_no_time_to_confirm_is_said_and_kept(tmp_path: Path) -> None:
    class Never(FakeJudge):
        def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            return Outcome(LATE)

    result = tuned(tmp_path / "t", Never())
    assert (result.chosen, result.unconfirmed) == ({}, 2)
    again = tuned(tmp_path / "t", FakeJudge())
    assert (again.trials, bool(again.chosen)) == (0, True)


def test_layers_that_run_alone_but_not_together(tmp_path: Path) -> None:
    class Apart(FakeJudge):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            if seconds < ROUND_S or len(schedules) < 3:
                return super().measure(schedules, seconds, at_most)
            return Outcome(CRASH)

    assert len(tuned(tmp_path / "t", Apart(), seconds=1e4).chosen) == 1


def test_a_second_network_that_shares_shapes_needs_few_trials(tmp_path: Path) -> None:
    """Four of its five layers are known: at most a fifth of the trials is new."""
    def run(layers: str) -> Result:
        network: Any = Network()
        network.units = [Unit(f"shape {name}", {name: (name,)}, SPACE, LAYER, 1) for name in layers]
        with Database(tmp_path / "t") as kept:
            limits, budget = Limits(30, "ga", 1), Budget(100.0)
            return Tuner(network, farm(FakeJudge()), TIME, kept, PLACE, limits, budget).run()

    first = run("abde")
    assert (first.trials, first.reused) == (120, 0)
    second = run("abdef")
    assert (second.trials, second.reused) == (30, 120)
    assert second.trials <= 0.2 * (second.trials + second.reused)
    assert len(second.chosen) == 5


class Gridded(Network):
    """``a`` and ``b`` lie on images of one size, which ``c`` reads."""

    def classes(self) -> Classes:
        return Classes(((None, (4, 4)), (None, (2, 8))), {"a": (0,), "b": (0,), "c": (1, 0)},
                       (("a", "b"), ("c",)))

    def take_grids(self, grids: dict[str, tuple[int, int]]) -> None:
        self.grids = grids

    def complete(self, schedules: Mapping[str, Schedule]) -> dict[str, Schedule]:
        return {name: schedules.get(name, Schedule()).filled(grid=self.grids.get(name))
                for name in {**schedules, **self.grids}}

    def keys_with(self, schedules: Mapping[str, Schedule]) -> tuple[dict[str, str], dict[str, str]]:
        return {"a": "conv", "b": "conv", "c": "fused"}, super().keys_with(schedules)[1]


class GridJudge(FakeJudge):
    """On another grid ``a`` and ``b`` take half their time, ``c`` twice, unless its own is another, too."""

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        tiles = {name: schedule for name, schedule in schedules.items() if schedule.tile is not None}
        outcome = super().measure(tiles, seconds, at_most)
        on = {name: schedules.get(name, Schedule()).grid for name in "abc"}
        factor = {"a": 0.5 if on["a"] else 1.0, "b": 0.5 if on["b"] else 1.0,
                  "d": 4.0 if bool(on["a"]) != bool(on["c"]) else 1.0}
        costs = {clock: (tuned * factor.get(clock, 1.0), default)
                 for clock, (tuned, default) in outcome.value.items()}
        costs["c"] = costs["d"]
        return Outcome(OK, costs)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        share = self.whole - 0.1 * any(schedule.tile for schedule in schedules.values())
        return Outcome(OK, Verdict(share, 1.0, share, float(share < 1)))


def gridded(path: Path, judge: Any, trials: int) -> tuple[Any, Result]:
    network: Any = Gridded()
    with Database(path) as kept:
        limits = Limits(trials, "ga", 1)
        return network, Tuner(network, farm(judge), TIME, kept, PLACE, limits, Budget(100.0)).run()


def test_grids_are_chosen_together_and_tiles_then_on_them(tmp_path: Path) -> None:
    network, result = gridded(tmp_path / "t", GridJudge(whole=0.8), 80)
    assert network.grids == {"a": (4, 4), "b": (4, 4), "c": (2, 8)}
    assert result.grids is not None
    known = confirmed(tmp_path / "t", PLACE)
    assert (known["conv"].grid, known["fused"].grid) == ((4, 4), (2, 8))
    assert known["tile of a"].tile is not None
    again, second = gridded(tmp_path / "t", GridJudge(whole=0.95), 80)  # the grids' verdict is known
    assert (second.trials, again.grids) == (0, network.grids)
    assert (second.grids, set(second.chosen)) == (result.grids, set())  # of tiles it is not better now


@pytest.mark.parametrize("whole", [1.02, 1.0])
def test_grids_that_the_whole_network_does_not_confirm_are_not_kept(tmp_path: Path, whole: float) -> None:
    network, result = gridded(tmp_path / "t", GridJudge(whole=whole), 3)
    assert (network.grids, result.grids) == ({}, None)


def test_tiles_that_lose_against_grids_alone_are_not_kept(tmp_path: Path) -> None:
    class Worse(GridJudge):
        def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            share = 0.9 if any(schedule.tile for schedule in schedules.values()) else 0.8
            return Outcome(OK, Verdict(share, 1.0, share, 1.0))

    _, result = gridded(tmp_path / "t", Worse(), 80)
    assert (result.chosen, result.grids) == ({}, Verdict(0.8, 1.0, 0.8, 1.0))
    assert confirmed(tmp_path / "t", PLACE) == {"conv": Schedule(grid=(4, 4)), "fused": Schedule(grid=(2, 8))}


def test_two_workers_have_a_round_each(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    class Meeting(FakeJudge):
        def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
            if seconds == ROUND_S:
                together.wait(60)
            return super().measure(schedules, seconds, at_most)

    network: Any = Network()
    with Database(tmp_path / "t") as kept:
        limits = Limits(40, "ga", 1)
        result = Tuner(network, farm(Meeting(), Meeting()), TIME, kept, PLACE, limits, Budget(100.0)).run()
        assert [trial.state for trial in kept.trials(PLACE)] == [OK] * 80
    assert (result.trials, result.failed) == (80, 0)
