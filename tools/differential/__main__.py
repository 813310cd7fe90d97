"""``python -m espalier.tools.differential --first 0 --count 10000 --jobs 2``: long runs by hand.

Each bundle runs in a child, so that a crash is a line as well. How far it is goes to stderr. Ends with 1
where there was a fault.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import torch

from .compare import MODES, Outcome, compare

BUNDLE = 20  # layers that are compiled together; no multiple of the ways they run, which take turns
TOLD = 500  # layers between two lines of progress


def _work(seeds: Sequence[int], mode: int | None, to: Connection) -> None:
    torch.set_num_threads(1)
    to.send(compare(seeds, mode))


def outcomes(seeds: Sequence[int], mode: int | None = None) -> list[Outcome]:
    """``compare`` in a child; where that dies, each seed in one of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_work, args=(seeds, mode, theirs))
    child.start()
    theirs.close()
    try:
        return list(ours.recv())
    except EOFError:
        child.join()
        if len(seeds) > 1:
            fixed = seeds[0] if mode is None else mode
            return [one for seed in seeds for one in outcomes([seed], fixed % len(MODES))]
        return [Outcome(seeds[0], f"died with {child.exitcode}", "see draw.draw")]
    finally:
        child.join()


def bundles(first: int, count: int) -> Iterator[list[int]]:
    """Consecutive seeds, ``BUNDLE`` at a time."""
    for at in range(first, first + count, BUNDLE):
        yield list(range(at, min(at + BUNDLE, first + count)))


def main(words: Sequence[str] | None = None) -> int:
    """Prints faults and refusals as they come, then counts."""
    parser = argparse.ArgumentParser(prog="python -m espalier.tools.differential", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first layer's number")
    parser.add_argument("--count", type=int, default=1000, help="how many layers")
    parser.add_argument("--jobs", type=int, default=1, help="bundles at a time")
    parser.add_argument("--mode", type=int, help="how layers run (compare.MODES); without: every way in turn")
    given = parser.parse_args(words)
    counts: Counter[str] = Counter()
    faults = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for found in pool.map(lambda seeds: outcomes(seeds, given.mode), bundles(given.first, given.count)):
            for one in found:
                counts[one.kind] += 1
                faults += one.fault
                if one.kind != "equal":
                    print(f"{one.seed}: {one.kind}: {one.words}", flush=True)
            if (done := counts.total()) // TOLD > (done - len(found)) // TOLD:
                print(f"{done} of {given.count} layers, {faults} faults", file=sys.stderr, flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
