"""The command: hands operations to child processes and counts what comes of them."""

from __future__ import annotations

import argparse
import fnmatch
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..heard import heard
from .samples import names

CRASH, HANG = "crash", "hang"
TOGETHER = 20  # operations of one process
FAULTS = ("wrong", "exception", CRASH, HANG)
DTYPES = "float32,float64,float16,bfloat16,int64,int32,uint8,bool"


@dataclass(frozen=True)
class Result:
    """What came of a sample: equal, refused, skipped, or a fault."""

    label: str
    outcome: str
    text: str


def main() -> int:
    """See ``tools/operations``."""
    parser = argparse.ArgumentParser(prog="python -m espalier.tools.operations")
    parser.add_argument("--only", default="*", help="names of operations, with * and ?, split by commas")
    parser.add_argument("--dtypes", default=DTYPES)
    parser.add_argument("--samples", type=int, default=3, help="of each operation and dtype")
    parser.add_argument("--seconds", type=float, default=60, help="that one sample may take")
    parser.add_argument("--part", default="1/1", help="2/5: the second fifth of the operations")
    parser.add_argument("--all", action="store_true", help="print refusals too")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    patterns = options.only.split(",")
    chosen = [name for name in names() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    counts: Counter[str] = Counter()
    mine = chosen[part - 1 :: parts]
    for begin in range(0, len(mine), TOGETHER):
        together = ",".join(mine[begin : begin + TOGETHER])
        for result in try_all(together, options.dtypes, options.samples, options.seconds):
            counts[result.outcome] += 1
            if result.outcome in FAULTS or (options.all and result.outcome == "refused"):
                print(f"{result.outcome}: {result.label}: {result.text}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "nothing to try")
    return int(any(counts[fault] for fault in FAULTS))


def try_all(together: str, dtypes: str, count: int, seconds: float) -> Iterator[Result]:
    """All samples of some operations; a process that crashes or hangs is followed by one for the rest."""
    done = 0
    while True:
        fault = False
        for result in _child(together, dtypes, count, seconds, done):
            done += 1
            fault = result.outcome in (CRASH, HANG)
            yield result
        if not fault:
            return


def _child(together: str, dtypes: str, count: int, seconds: float, skip: int) -> Iterator[Result]:
    """The results of one process; the last one says so if it ended in the middle of a sample."""
    command = [sys.executable, "-m", f"{__package__}.child", str(skip), str(count), dtypes, together]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    at = ""
    try:
        for known in heard(child, seconds):
            at = known.get("begin", at)
            if "outcome" in known:
                yield Result(known["label"], known["outcome"], known["text"])
                at = ""
    except TimeoutError:
        yield Result(at or together, HANG, f"no answer in {seconds:g} s")
        return
    status = child.wait()
    if at:
        yield Result(at, CRASH, f"the process ended with {status}")
    elif status:
        print(f"{together}: PyTorch gives no samples, or not all (status {status})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
