"""Times single operations, compiled by us and by PyTorch eager, on one thread.

    python -m espalier.tools.single_operations --only 'softmax*,layer norm*' --sizes million,small

A machine's slow minute hits both alike: calls alternate. Compiling takes longer than timing, and comes first.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Sequence
from statistics import median

from ..errors import EspalierError, unknown
from ..frontends.compile import compile_model
from .bench.alone import HEAD, SIZES, Case, Timed, cases, difference, timed
from .bench.machine import Machine
from .commands.common import exit_code, out

LARGEST_ERROR = 1e-4


def summary(measured: list[Timed]) -> str:
    """How many operations are fast enough, and the medians of their ratios."""
    slow = [each for each in measured if not each.meets]
    names = f": {', '.join(each.case.name for each in slow)}" if slow else ""
    return (f"{len(measured) - len(slow)} of {len(measured)} no slower than PyTorch (topk, sort: twice), in "
            f"the median {median(each.ratio() for each in measured):.2f} times as fast; "
            f"{len(slow)} slower{names}")


def main() -> int:
    """Reads the arguments; errors are one line."""
    parser = argparse.ArgumentParser(prog="single_operations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="names, with * and ?, split by commas")
    parser.add_argument("--sizes", default="million", help=f"of {', '.join(SIZES)}, split by commas")
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring, an operation")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if any(fnmatch.fnmatch(case.name, pattern)
                                              for pattern in arguments.only.split(","))]
    out.print(str(Machine.here()), markup=False)

    def work() -> None:
        for name in arguments.sizes.split(","):
            measure(chosen, name, arguments.seconds)

    return exit_code(work)


def measure(chosen: Sequence[Case], size: str, seconds: float) -> None:
    """Compiles all ``chosen``, then times them, ``seconds`` each, and prints a row for each;
    ``EspalierError`` for an unknown size, and for a wrong answer."""
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    made = []
    for case in chosen:
        inputs = case.drawn(SIZES[size])
        compiled = compile_model(case.module(), inputs)
        off = difference(case, compiled, inputs)
        if not off <= LARGEST_ERROR:
            raise EspalierError(f"{case.name}: off from PyTorch by {off:.1e}")
        made.append((case, compiled, inputs))
    out.print(f"{size}\n{HEAD}", markup=False)
    measured = []
    for each in made:
        measured.append(timed(*each, seconds))
        out.print(str(measured[-1]), markup=False, soft_wrap=True)
    if measured:
        out.print(summary(measured), markup=False, soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
