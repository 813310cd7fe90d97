"""Spaces of schedules: genomes and schedules are one to one, and what is impossible is never drawn."""

from __future__ import annotations

import random
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
