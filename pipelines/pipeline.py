"""Pipelines as values: what the parser reads, what prints back, what the runner runs.

A pipeline is a ``Nest`` on ``builtin.module``. Its items are our passes, upstream passes and further nests.
``str`` gives MLIR's textual grammar, with only the options that differ from their defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..sparse_dialect.passes import Pass
from .options import print_options

ROOT = "builtin.module"


@dataclass(frozen=True)
class PassItem:
    """One of our passes with its options: the pass object itself."""

    value: Pass

    @property
    def name(self) -> str:
        return self.value.name

    def __str__(self) -> str:
        return self.name + print_options(self.value)


@dataclass(frozen=True)
class UpstreamItem:
    """A pass of the bindings' own pass manager; ``options`` is the text between its braces, as written."""

    name: str
    options: str = ""

    def __str__(self) -> str:
        return f"{self.name}{{{self.options}}}" if self.options else self.name


@dataclass(frozen=True)
class Nest:
    """``anchor(item,item)``: the items run on every op named ``anchor`` (``any``: on every isolated one)."""

    anchor: str
    items: tuple[PassItem | UpstreamItem | Nest, ...] = ()

    @property
    def name(self) -> str:
        return self.anchor

    def __str__(self) -> str:
        return f"{self.anchor}({','.join(map(str, self.items))})"

    def leaves(self) -> Iterator[PassItem | UpstreamItem]:
        """Every pass at any depth, in order."""
        for item in self.items:
            if isinstance(item, Nest):
                yield from item.leaves()
            else:
                yield item


Item = PassItem | UpstreamItem | Nest


def is_upstream(item: Item) -> bool:
    """Whether the upstream pass manager can run the whole of ``item`` by itself."""
    leaves = item.leaves() if isinstance(item, Nest) else (item,)
    return all(isinstance(leaf, UpstreamItem) for leaf in leaves)
