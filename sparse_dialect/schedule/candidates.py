"""What may be changed in a layer's schedule: a few axes of a few values each, the heuristic's choice among
them.

    axes    filters_per_group 1 2, channel_block 32 64 128, tile.0 1, tile.1 1 .. 7, tile.2 1 .. 4
    genome  (0, 1, 0, 4, 2)  ->  Schedule(filters_per_group=1, channel_block=64, tile=(1, 5, 3))

A genome holds the place of a value on each axis. Dense or sparse is the first axis where both can be, and the
others belong to one of the two. The axes of a tuple's elements are named ``field.place``. A
micro-kernel family makes the space of a layer; searches know no more than this.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

from .schedule import Schedule

Genome = tuple[int, ...]
Values = dict[str, list[Any]]  # by axis
MOST_DRAWS = 1000  # of random genomes until one is possible


@dataclass(frozen=True)
class Axis:
    """One thing that may be changed, and the values that it may have, in their natural order. ``when``: it
    means something only where the first axis has its value at that place (None: always)."""

    name: str
    values: tuple[Any, ...]
    when: int | None = None

    @property
    def label(self) -> str:
        """A name that no other axis of a space has."""
        return self.name if self.when is None else f"{self.name} of {self.when}"


def _anything(_: Schedule) -> str:
    return ""


@dataclass(frozen=True)
class Space:
    """
    The schedules of one layer. ``default`` is the heuristic's; ``why_not`` says why a schedule cannot be,
    empty where it can. On an axis that means nothing a genome has the default's place.
    """

    axes: tuple[Axis, ...]
    default: Genome
    why_not: Callable[[Schedule], str] = _anything

    @staticmethod
    def around(default: Schedule, values: Mapping[str, Sequence[Any]],
               why_not: Callable[[Schedule], str] = _anything) -> Space:
        """The space of ``values`` by axis; the default's own value is added where it is missing. An axis of
        one value is left out, unless it is a tuple's element."""
        axes, genome = [], []
        for name, several in values.items():
            own = _value(default, name)
            known = list(several) if own in several else [own, *several]
            known = sorted(set(known)) if all(isinstance(value, int) for value in known) else known
            if len(known) > 1 or "." in name:
                axes.append(Axis(name, tuple(known)))
                genome.append(known.index(own))
        return Space(tuple(axes), tuple(genome), why_not)

    @staticmethod
    def either(field: str, parts: Mapping[Any, Space]) -> Space:
        """The schedules of all ``parts``, where ``field`` says whose one is; the first part's default."""
        if len(parts) == 1:
            return next(iter(parts.values()))
        known = list(parts)
        axes, default = [Axis(field, tuple(known))], [0]
        for place, part in enumerate(parts.values()):
            axes += [replace(axis, when=place) for axis in part.axes]
            default += part.default

        def why_not(found: Schedule) -> str:
            return parts[getattr(found, field)].why_not(found)

        return Space(tuple(axes), tuple(default), why_not)

    @property
    def size(self) -> int:
        """How many genomes there are, impossible ones included."""
        if not self.axes:
            return 1
        if all(axis.when is None for axis in self.axes):
            return prod(len(axis.values) for axis in self.axes)
        return sum(prod(len(axis.values) for axis in self.axes if axis.when == place)
                   for place in range(len(self.axes[0].values)))

    def active(self, genome: Sequence[int], at: int) -> bool:
        """Whether axis ``at`` means something in ``genome``."""
        return self.axes[at].when in (None, genome[0])

    def settled(self, genome: Sequence[int]) -> Genome:
        """``genome`` with the default's places where they mean nothing."""
        return tuple(place if self.active(genome, at) else self.default[at]
                     for at, place in enumerate(genome))

    def schedule(self, genome: Genome) -> Schedule:
        """What ``genome`` says; nothing of what no axis changes."""
        found: dict[str, Any] = {}
        for at, (axis, place) in enumerate(zip(self.axes, genome, strict=True)):
            if not self.active(genome, at):
                continue
            name, _, element = axis.name.partition(".")
            value = axis.values[place]
            found[name] = (*found.get(name, ()), value) if element else value
        return Schedule(**found)

    def genome(self, schedule: Schedule) -> Genome | None:
        """The genome of ``schedule``, None where it lies outside this space."""
        found: list[int] = []
        try:
            for at, axis in enumerate(self.axes):
                means = axis.when in (None, found[0] if found else None)
                found.append(axis.values.index(_value(schedule, axis.name)) if means else self.default[at])
        except (ValueError, TypeError, IndexError):
            return None
        return tuple(found)

    def possible(self, genome: Genome) -> bool:
        return self.settled(genome) == tuple(genome) and not self.why_not(self.schedule(genome))

    def all(self) -> Iterator[Genome]:
        """Every possible genome, the default first, then those that differ from it least."""
        near = sorted(self._every(()), key=self._distance)
        return (genome for genome in near if self.possible(genome))

    def _every(self, begun: Genome) -> Iterator[Genome]:
        """All that begin with ``begun``, impossible ones too."""
        at = len(begun)
        if at == len(self.axes):
            yield begun
            return
        means = self.axes[at].when is None or self.active(begun, at)
        for place in range(len(self.axes[at].values)) if means else (self.default[at],):
            yield from self._every((*begun, place))

    def draw(self, random_: random.Random) -> Genome:
        """Any possible genome; the default where a thousand draws find none."""
        for _ in range(MOST_DRAWS):
            genome = self.settled([random_.randrange(len(axis.values)) for axis in self.axes])
            if self.possible(genome):
                return genome
        return self.default

    def changed(self, genome: Genome, random_: random.Random) -> Genome:
        """A possible genome near ``genome``: one or two axes differ, mostly by a step."""
        for _ in range(MOST_DRAWS):
            places = list(genome)
            means = [at for at in range(len(places)) if self.active(genome, at)]
            for at in random_.sample(means, min(len(means), random_.choice((1, 1, 2)))):
                last = len(self.axes[at].values) - 1
                step = random_.choice((-1, 1)) if random_.random() < 0.6 else random_.randint(-last, last)
                places[at] = min(max(places[at] + step, 0), last)
            found = self.settled(places)
            if found != genome and self.possible(found):
                return found
        return genome

    def _distance(self, genome: Sequence[int]) -> int:
        return sum(abs(a - b) for a, b in zip(genome, self.default, strict=True))


def _value(schedule: Schedule, axis: str) -> Any:
    """What ``schedule`` says on the axis of that name."""
    name, _, element = axis.partition(".")
    value = getattr(schedule, name)
    return value[int(element)] if element else value


FIELDS = tuple(field.name for field in fields(Schedule))
# What is decided while tiles are: the rest decides how weights are packed and laid out.
TILE_FIELDS = ("tile", "sub_tile", "passes", "prefetch")


def split(schedule: Schedule) -> tuple[Schedule, Schedule]:
    """What is decided before layouts, and what behind them."""
    early = {name: getattr(schedule, name) for name in FIELDS if name not in TILE_FIELDS}
    return Schedule(**early), Schedule(**{name: getattr(schedule, name) for name in TILE_FIELDS})
