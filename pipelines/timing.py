"""``--mlir-timing``: wall time of each pass, as a table on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from typing import TextIO

from ..sparse_dialect.passes import PassContext
from .instrument import Instrument, Step


class Timing(Instrument):
    """Adds up the seconds of each pass over all that it ran on, in order of first appearance."""

    each_pass = True

    def __init__(self, stream: TextIO | None = None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.runs: Counter[str] = Counter()
        self._stream = stream
        self._began = 0.0

    def before(self, step: Step) -> None:
        self._began = time.perf_counter()

    def after(self, step: Step, context: PassContext) -> None:
        self.seconds[step.name] += time.perf_counter() - self._began
        self.runs[step.name] += 1

    def failed(self, step: Step, error: BaseException) -> None:
        self.seconds[step.name] += time.perf_counter() - self._began
        self.runs[step.name] += 1

    def finish(self) -> None:
        from rich.console import Console  # here: half of the start-up time of a run that does not time
        from rich.table import Table

        total = sum(self.seconds.values())
        table = Table(title="Execution time report", title_justify="left")
        table.add_column("pass")
        for name in ("seconds", "share", "runs"):
            table.add_column(name, justify="right")
        for name, seconds in self.seconds.items():
            share = f"{100 * seconds / total:.1f} %" if total else "-"
            table.add_row(name, f"{seconds:.4f}", share, str(self.runs[name]))
        table.add_row("total", f"{total:.4f}", "100.0 %", str(sum(self.runs.values())))
        Console(file=self._stream or sys.stderr).print(table)
