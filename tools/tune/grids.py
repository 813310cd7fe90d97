"""Which lane grids the images of a network lie on, chosen together: along the graph, over measured times.

    classes    56x56: a0, a1, a2    28x28: b0, b1    14x14: ...     images of one size share a grid
    factors    conv3 (28x28 of 56x56): time by (grid of 28x28, grid of 56x56)

A layer's time depends on the grid that it writes and on those that it reads: another grid means that its
input is gathered. Each trial measures all layers under one assignment; the assignment whose layers are
fastest together is found by dynamic programming, class after class (min-sum elimination: on a chain of sizes
it is Viterbi's algorithm). It may use only what was measured.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod

import numpy as np

Grid = tuple[int, int] | None  # lanes high and wide; None: what each layer has by default
Assignment = tuple[int, ...]  # by class the place among its grids
DRAWS = 300  # of which the one that measures most is tried


@dataclass(frozen=True)
class Classes:
    """``grids`` of each class, the default first; ``factors``: by layer the classes that its time depends on,
    that of its output first; ``layers``: by class the layers that write it."""

    grids: tuple[tuple[Grid, ...], ...]
    factors: Mapping[str, tuple[int, ...]]
    layers: tuple[tuple[str, ...], ...]

    @property
    def default(self) -> Assignment:
        return (0,) * len(self.grids)

    def chosen(self, assignment: Assignment) -> dict[str, tuple[int, int]]:
        """The grids that ``assignment`` asks for, by layer."""
        found: dict[str, tuple[int, int]] = {}
        for grids, names, place in zip(self.grids, self.layers, assignment, strict=True):
            grid = grids[place]
            if grid is not None:
                found |= dict.fromkeys(names, grid)
        return found


@dataclass
class Times:
    """What was measured of the layers of ``classes``: seconds by the places of the classes that a layer
    depends on; ``inf`` where nothing was."""

    classes: Classes
    tables: dict[str, np.ndarray] = field(default_factory=dict)
    failed: set[Assignment] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, scope in self.classes.factors.items():
            self.tables[name] = np.full([len(self.classes.grids[at]) for at in scope], inf)

    def tell(self, assignment: Assignment, times: Mapping[str, float]) -> None:
        """``times`` of the layers under ``assignment``; the least counts."""
        for name, scope in self.classes.factors.items():
            at = tuple(assignment[number] for number in scope)
            self.tables[name][at] = min(self.tables[name][at], times[name])

    def of(self, assignment: Assignment) -> dict[str, float]:
        """The layers' times under ``assignment``."""
        return {name: float(self.tables[name][tuple(assignment[number] for number in scope)])
                for name, scope in self.classes.factors.items()}

    def fail(self, assignment: Assignment) -> None:
        """It does not run, and is not asked for again."""
        self.failed.add(assignment)

    def several(self, random_: random.Random, count: int) -> list[Assignment]:
        """At most so many assignments that measure much that is not measured yet; none where all is. Not the
        default, which every trial measures as well."""
        drawn = {tuple(random_.randrange(len(grids)) for grids in self.classes.grids) for _ in range(DRAWS)}
        drawn -= self.failed | {self.classes.default}
        asked: list[Assignment] = []
        known: set[tuple[str, Assignment]] = set()
        for _ in range(count):
            fresh = {each: self._unknown(each) - known for each in sorted(drawn)}
            best = max(fresh, key=lambda each: len(fresh[each]), default=None)
            if best is None or not fresh[best]:
                break
            asked.append(best)
            known |= fresh[best]
        return asked

    def _unknown(self, assignment: Assignment) -> set[tuple[str, Assignment]]:
        """The layers, and the places of their classes, that ``assignment`` would measure."""
        found = {(name, tuple(assignment[number] for number in scope))
                 for name, scope in self.classes.factors.items()}
        return {(name, at) for name, at in found if np.isinf(self.tables[name][at])}

    def best(self) -> tuple[Assignment, float]:
        """The assignment whose layers are fastest together, and their seconds."""
        scopes = [(scope, self.tables[name]) for name, scope in self.classes.factors.items()]
        return cheapest([len(grids) for grids in self.classes.grids], scopes)


def cheapest(sizes: Sequence[int],
             factors: Sequence[tuple[tuple[int, ...], np.ndarray]]) -> tuple[Assignment, float]:
    """The places (one of ``sizes[v]`` for variable v) at which the ``factors``, tables over some variables
    each, have the least sum, and that sum. Variables are eliminated one after the other, those first whose
    neighbours have the fewest values together."""
    left = list(factors)
    choices: list[tuple[int, tuple[int, ...], np.ndarray]] = []
    open_ = set(range(len(sizes)))
    while open_:
        scopes = {v: _union(v, [scope for scope, _ in left if v in scope]) for v in open_}
        variable = min(sorted(open_), key=lambda v: prod(sizes[u] for u in scopes[v]))
        scope = scopes[variable]
        table = np.zeros([sizes[v] for v in scope])
        for own, values in left:
            if variable in own:
                table = table + _spread(own, values, scope)
        left = [entry for entry in left if variable not in entry[0]]
        left.append((scope[1:], table.min(axis=0)))
        choices.append((variable, scope[1:], table.argmin(axis=0)))
        open_.remove(variable)
    found = dict[int, int]()
    for variable, scope, best in reversed(choices):
        found[variable] = int(best[tuple(found[v] for v in scope)])
    return tuple(found[v] for v in range(len(sizes))), float(sum(values for _, values in left))


def _union(variable: int, scopes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """All variables of ``scopes``, ``variable`` first."""
    return (variable, *sorted({v for scope in scopes for v in scope} - {variable}))


def _spread(own: tuple[int, ...], values: np.ndarray, scope: tuple[int, ...]) -> np.ndarray:
    """``values`` over the variables ``own`` with axes of 1 for the others of ``scope``."""
    order = sorted(range(len(own)), key=lambda at: scope.index(own[at]))
    turned = values.transpose(order)
    sizes = iter(turned.shape)
    return turned.reshape([next(sizes) if v in own else 1 for v in scope])
