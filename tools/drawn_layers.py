"""Draws pruned layers by chance and says how often the compiler's choice is behind the best forced one.

    python -m espalier.tools.drawn_layers --count 50 --first 0

A machine's slow minute spoils this: run it where nothing else runs, some layers at a time.
"""

from __future__ import annotations

import argparse
from statistics import median

from .bench.drawn import Judged, draw, judge
from .bench.machine import Machine
from .commands.common import exit_code, out

BEHIND, FAR_BEHIND = 0.03, 0.10


def summary(judged: list[Judged]) -> str:
    """The shares of layers whose choice is behind, by minimum and by median."""
    lines = []
    for name, of in (("minimum", min), ("median", median)):
        behind = [each.behind(of) for each in judged]
        late, far = (sum(share > limit for share in behind) for limit in (BEHIND, FAR_BEHIND))
        lines.append(f"by {name}: of {len(judged)} layers {late} ({late / len(judged):.1%}) more than "
                     f"{BEHIND:.0%} behind, {far} more than {FAR_BEHIND:.0%}, at worst {max(behind):.1%}")
    return "\n".join(lines)


def measure(first: int, count: int, seed: int, seconds: float) -> None:
    """Judges ``count`` layers, a line each, then sums up."""
    out.print(str(Machine.here()), markup=False)
    judged = []
    for number in range(first, first + count):
        judged.append(judge(draw(number, seed), seconds))
        out.print(str(judged[-1]), markup=False, soft_wrap=True)
    out.print(summary(judged), markup=False)


def main() -> int:
    """Reads the arguments; errors are one line."""
    parser = argparse.ArgumentParser(prog="drawn_layers", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first layer")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring, a layer")
    given = parser.parse_args()
    return exit_code(lambda: measure(given.first, given.count, given.seed, given.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
