"""``espalier prune --latency 12ms | --speedup 4 | --floor 91.5``: the recipe's rates, found by a search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ...errors import EspalierError
from .common import err, out, progress_bars, show

if TYPE_CHECKING:
    from ...frontends.pruning.search.search import SearchResult

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
LATENCY = re.compile(r"([0-9.]+)\s*(us|ms|s)")


@dataclass(frozen=True)
class SearchRequest:
    """What the command line asks for; nothing of ``latency``, ``speedup`` and ``floor``: no search."""

    latency: str = ""
    speedup: float | None = None
    floor: float | None = None
    threads: int = 1
    trials: int = 0

    def __bool__(self) -> bool:
        return bool(self.latency) or self.speedup is not None or self.floor is not None

    def check(self, has_data: bool) -> None:
        """Raises ``EspalierError`` for more than one target, and for options without any."""
        given = [name for name, value in (("--latency", self.latency or None), ("--speedup", self.speedup),
                                          ("--floor", self.floor)) if value is not None]
        if len(given) > 1:
            raise EspalierError(f"{' and '.join(given)}: one target at a time")
        if self.floor is not None and not isfinite(self.floor):
            raise EspalierError(f"--floor expects a number, found {self.floor}")
        if self.trials and not given:
            raise EspalierError("--search-trials needs --latency, --speedup or --floor")
        if (self.trials or self.floor is not None) and not has_data:
            raise EspalierError(f"{'--floor' if self.floor is not None else '--search-trials'} needs --data")
        if self.latency:
            milliseconds(self.latency)


def milliseconds(text: str) -> float:
    """``12ms``, ``800us`` or ``0.5s``; raises ``EspalierError`` for anything else."""
    found = LATENCY.fullmatch(text.strip())
    try:
        value = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        value = 0.0
    if value <= 0:
        raise EspalierError(f"--latency expects a time such as 12ms, found '{text}'")
    return value


def searched(request: SearchRequest, module: Any, inputs: tuple[Any, ...], recipe: Any, task: Any,
             folder: Path) -> Any:
    """``recipe`` with the rates that ``request`` asks for; the table is kept in ``folder``."""
    from ...frontends.pruning.search.floor import search_floor
    from ...frontends.pruning.search.search import SearchOptions, search_rates

    table = folder / "search.csv"
    options = SearchOptions(threads=request.threads, trials=request.trials, table=table)
    with progress_bars() as progress:
        if request.floor is not None:
            result = search_floor(module, task, recipe, inputs, request.floor, options=options,
                                  progress=progress)
        else:
            latency = milliseconds(request.latency) if request.latency else None
            result = search_rates(module, task, recipe, inputs, options=options, progress=progress,
                                  latency_ms=latency, speedup=request.speedup)
    show(search_table(result))
    how = "measured" if result.measured else "predicted"
    out.print(f"target {result.target_ms:.4g} ms, {how} {result.latency_ms:.4g} ms "
              f"({result.dense_ms / result.latency_ms:.2f} times faster than dense), "
              f"{request.threads} thread{'s' if request.threads > 1 else ''}; "
              f"{'read' if result.table_read else 'wrote'} {table}", markup=False)
    if not result.close:
        err.print(f"espalier: warning: {result.latency_ms / result.target_ms - 1:+.1%} from the target after "
                  f"{len(result.rounds)} rounds", markup=False)
    return result.recipe


def search_table(result: SearchResult) -> Table:
    """The choice of every layer, and what all cost."""
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    table.add_column("choice")
    for name, choice in result.choices.items():
        table.add_row(name, choice)
    uniform = result.uniform_sensitivity
    beside = "" if uniform is None else f" (one rate for all: {uniform:.4g})"
    table.add_row("summed sensitivity", f"{result.sensitivity:.4g}{beside}")
    return table
