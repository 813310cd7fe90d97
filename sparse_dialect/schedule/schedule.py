"""How one layer runs: the value behind ``#sparse.schedule<{...}>``, and what a tuner searches.

    #sparse.schedule<{micro_kernel = "kernel_classes", storage = "fkw", grid = [4, 4], tile = [1, 2, 7],
                      filters_per_group = 1 : i64, channel_block = 32 : i64, chunks = 6 : i64}>

Every field may be left out. What a ``.mlir`` file says is obeyed; the pass that needs a field which is not
there asks the heuristic for it, and writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..storage import STORAGES
from .families import FAMILIES

STORED = tuple(name for name, storage in STORAGES.items() if storage.runs)


@dataclass(frozen=True)
class Schedule:
    """
    The decisions for one layer; None where one is still to be taken, or has no meaning for the layer.

    ``micro_kernel``: the family whose code runs, one of ``families.FAMILIES``. ``storage``: what the weights
    are kept in, one of STORED; a dense one makes a layer run dense, any other makes it run sparse.

    ``filters_per_group`` filters share loaded inputs (filter-level LRE). ``channel_block``: channels that
    stay in cache together, a divisor of the layer's. ``filter_order``: the filters as they are stored (FKR;
    PatDNN, ASPLOS 2020), where filters share columns group by group.

    ``mixed``: the kernels of all classes (patterns) of a filter come in one run, whose taps find their lines
    in a table, instead of a run a class, whose taps share lines.

    Of a sparse matrix ``filters_per_group`` rows share the inputs that are picked, each from a ``window`` of
    so many neighbours.

    ``grid``: lanes (high, wide) of the output. ``tile``: output lines (depth, rows, columns) that are
    computed together; ``sub_tile``: of these, what is in registers at a time, for the filters of a group in
    so many ``passes``. ``chunks``: parts of the filters that threads share out; ``by_chunk``: each is
    followed by its planes of the depthwise convolution behind it. ``prefetch``: asks for a tile's input
    while the one before is computed.

    On a GPU ``tile`` is rows and columns of pixels of a thread, which computes them for so many ``filters``;
    a workgroup has so many ``threads``. ``filters_first``: workgroups follow each other through the filters
    of one place, else through the places of one group of filters.
    """

    micro_kernel: str | None = None
    storage: str | None = None
    filters_per_group: int | None = None
    channel_block: int | None = None
    window: int | None = None
    mixed: bool | None = None
    filter_order: tuple[int, ...] | None = None
    grid: tuple[int, ...] | None = None
    tile: tuple[int, ...] | None = None
    sub_tile: tuple[int, ...] | None = None
    passes: int | None = None
    chunks: int | None = None
    by_chunk: bool | None = None
    prefetch: bool | None = None
    filters: int | None = None
    threads: int | None = None
    filters_first: bool | None = None

    def filled(self, **known: Any) -> Schedule:
        """This schedule with ``known`` values where it says nothing itself."""
        return replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})

    @property
    def text(self) -> str:
        """What is decided, for people: ``tile (1, 2, 7), prefetch True``."""
        return ", ".join(f"{name} {value}" for name, value in vars(self).items() if value is not None)

    def changed(self, other: Schedule) -> Schedule:
        """This schedule, but for what ``other`` says."""
        return other.filled(**vars(self))

    def missing(self, *names: str) -> list[str]:
        """Which of the fields ``names`` are still to be decided."""
        return [name for name in names if getattr(self, name) is None]

    def complaint(self) -> str | None:
        """What no layer can have: an unknown name, or a size that is not positive."""
        for name, known in (("micro_kernel", FAMILIES), ("storage", STORED)):
            found = getattr(self, name)
            if found is not None and found not in known:
                return f"expected {name} to be one of {', '.join(known)}, found '{found}'"
        for name, known_lengths in (("grid", (2,)), ("tile", (1, 2, 3)), ("sub_tile", (1, 2, 3))):
            sizes = getattr(self, name)
            if sizes is not None and (len(sizes) not in known_lengths or min(sizes) < 1):
                return f"expected {name} of {known_lengths[-1]} positive sizes, found {list(sizes)}"
        for name in (field.name for field in fields(self) if field.type == "int | None"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                return f"expected {name} of 1 or more, found {getattr(self, name)}"
        return None
