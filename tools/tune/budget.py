"""What a search may take: trials, and time, of which confirming has its share.

    | compiling the default | rounds of trials ...                    | confirming |
    begin                                                  end - reserve           end

A round begins only where it is expected to end before the reserve, and is ended where it does not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .learned import CostModel

ROUND_S, CONFIRM_S = 1.5, 6.0  # measuring in a round, and once in confirming
LEAST_S, SHARE = 0.5, 1 / 40  # confirming measures so long at least, else this share of all time
SLACK = 1.2  # of the longest round until now: the next one may take a little longer


@dataclass(frozen=True)
class Limits:
    """``trials`` a layer; the search's ``method`` and ``seed``; ``model``, which ranks what it proposes."""

    trials: int = 32
    method: str = "auto"
    seed: int = 0
    model: CostModel | None = None


@dataclass
class Budget:
    """``seconds`` from ``begin`` (monotonic clock); ``round_s``: the longest round until now, or what the
    first is expected to take."""

    seconds: float
    begin: float = field(default_factory=time.monotonic)
    round_s: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until the end; 0 behind it."""
        return max(0.0, self.begin + self.seconds - time.monotonic())

    @property
    def confirm_s(self) -> float:
        """How long confirming measures at a time."""
        return max(LEAST_S, min(CONFIRM_S, SHARE * self.seconds))

    @property
    def reserve(self) -> float:
        """What confirming needs once: the network is compiled and measured layer by layer, then as a whole
        for twice as long."""
        return 2 * max(0.0, self.round_s - ROUND_S) + 3 * self.confirm_s

    @property
    def for_rounds(self) -> float:
        """Seconds left before the reserve begins."""
        return max(0.0, self.left - self.reserve)

    @property
    def another(self) -> bool:
        """Whether a round is expected to end in time."""
        return self.for_rounds >= SLACK * self.round_s

    @property
    def needed(self) -> float:
        """Seconds in all that would have allowed a round and its confirming, with some to spare."""
        return 1.5 * (self.seconds - self.left + self.round_s + self.reserve)

    def ran(self, seconds: float) -> None:
        """A round took so long."""
        self.round_s = max(self.round_s, seconds)
