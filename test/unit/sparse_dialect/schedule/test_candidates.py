"""Spaces of schedules: genomes and schedules are one to one, and what is impossible is never drawn."""

from __future__ import annotations

import random
from dataclasses import replace
from math import prod

import pytest
from espalier.sparse_dialect.schedule.candidates import Genome, Space, split
from espalier.sparse_dialect.schedule.schedule import Schedule
from hypothesis import given
from hypothesis import strategies as st


def too_large(schedule: Schedule) -> str:
    return "too large" if prod(schedule.tile or ()) * (schedule.filters_per_group or 1) > 12 else ""


DEFAULT = Schedule(micro_kernel="kernel_classes", filters_per_group=1, channel_block=64, tile=(1, 2, 3),
                   prefetch=False)
SPACE = Space.around(DEFAULT, {"filters_per_group": [1, 2], "channel_block": [128, 32], "tile.0": [1],
                               "tile.1": range(1, 5), "tile.2": range(1, 5), "prefetch": [False, True]},
                     too_large)
genomes = st.tuples(*(st.integers(0, len(axis.values) - 1) for axis in SPACE.axes))


@given(genomes)
def test_a_schedule_says_its_genome(genome: Genome) -> None:
    assert SPACE.genome(SPACE.schedule(genome)) == genome


@given(genomes, st.integers(0, 99))
def test_what_is_drawn_or_changed_is_possible(genome: Genome, seed: int) -> None:
    random_ = random.Random(seed)
    assert SPACE.possible(SPACE.draw(random_))
    if SPACE.possible(genome):
        changed = SPACE.changed(genome, random_)
        assert SPACE.possible(changed)
        assert changed != genome


def test_all_are_possible_and_the_default_comes_first() -> None:
    every = list(SPACE.all())
    assert every[0] == SPACE.default
    assert len(every) == len(set(every)) < SPACE.size
    assert all(SPACE.possible(genome) for genome in every)
    assert SPACE.schedule(SPACE.default).tile == (1, 2, 3)


def test_the_defaults_own_value_is_on_its_axis() -> None:
    (block,) = (axis for axis in SPACE.axes if axis.name == "channel_block")
    assert block.values == (32, 64, 128)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(tile=(1, 2)), Schedule(tile=(1, 9, 9))])
def test_a_schedule_outside_has_no_genome(schedule: Schedule) -> None:
    assert SPACE.genome(schedule) is None


def test_tiles_are_decided_behind_layouts() -> None:
    early, late = split(DEFAULT)
    assert early == Schedule(micro_kernel="kernel_classes", filters_per_group=1, channel_block=64)
    assert late == Schedule(tile=(1, 2, 3), prefetch=False)


SMALL = Space.around(Schedule(window=64, filters_per_group=1), {"filters_per_group": [1, 2, 4],
                                                                "window": [64, 128]})
EITHER = Space.either("storage", {None: SPACE, "sell": SMALL})


def test_two_spaces_in_one_hold_what_each_holds() -> None:
    every = list(EITHER.all())
    assert every[0] == EITHER.default
    assert EITHER.size == SPACE.size + SMALL.size
    expected = [(None, SPACE.schedule(genome)) for genome in SPACE.all()]
    expected += [("sell", SMALL.schedule(genome)) for genome in SMALL.all()]
    found = [(schedule.storage, replace(schedule, storage=None)) for schedule in map(EITHER.schedule, every)]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


@given(st.integers(0, 999))
def test_axes_of_the_other_space_stay_where_they_are(seed: int) -> None:
    random_ = random.Random(seed)
    genome = EITHER.draw(random_)
    for found in (genome, EITHER.changed(genome, random_)):
        assert EITHER.possible(found)
        assert EITHER.genome(EITHER.schedule(found)) == found
        idle = [at for at in range(len(found)) if not EITHER.active(found, at)]
        assert len(idle) == (len(SMALL.axes) if found[0] == 0 else len(SPACE.axes))
        assert all(found[at] == EITHER.default[at] for at in idle)


def test_one_space_alone_needs_no_axis_to_say_so() -> None:
    assert Space.either("storage", {None: SMALL}) is SMALL
    assert Space.either("storage", {None: Space((), ()), "sell": SMALL}).size == 1 + SMALL.size
