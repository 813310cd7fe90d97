"""``--mlir-pass-statistics``: what the passes counted, in MLIR's layout, on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TextIO

from ..sparse_dialect.passes import PassContext
from .instrument import Instrument, Step

RULE = "===" + "-" * 73 + "==="


class Statistics(Instrument):
    """Adds up each pass's counters over all that it ran on; the wheel has upstream's compiled out."""

    each_pass = True

    def __init__(self, stream: TextIO | None = None) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self._stream = stream

    def after(self, step: Step, context: PassContext) -> None:
        self.counts.setdefault(step.name, Counter()).update(context.statistics)

    def finish(self) -> None:
        stream = self._stream or sys.stderr
        print(f"{RULE}\n{'... Pass statistics report ...':^79}\n{RULE}", file=stream)
        for name, counts in self.counts.items():
            print(name, file=stream)
            for what, count in sorted(counts.items()):
                print(f"  (S) {count:8} {what}", file=stream)
