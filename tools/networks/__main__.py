"""The command: a child process a network, and a CSV file that grows by a row."""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...errors import unknown
from ..bench.machine import Machine
from ..commands.common import err, exit_code, out
from ..heard import heard
from .catalogue import NETWORKS, Network
from .rows import CRASH, EXCEPTION, FAULTS, HANG, Row, read_rows, table, write_rows


def main(words: Sequence[str] | None = None) -> int:
    """See ``tools/networks``; errors are one line."""
    options = _options(words)
    return exit_code(lambda: _run(options))


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m espalier.tools.networks")
    parser.add_argument("--only", default="*", help="names of networks, with * and ?, joined with commas")
    parser.add_argument("--out", type=Path, default=Path("out/networks"), help="where rows and reports go")
    parser.add_argument("--again", action="store_true", help="also networks that have a row")
    parser.add_argument("--seconds", type=float, default=420, help="that one step of a network may take")
    parser.add_argument("--measure", type=float, default=8, help="seconds of timing a network")
    parser.add_argument("--no-inductor", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-pruned", action="store_true", help="leave the pruned network out")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    parser.add_argument("--list", action="store_true", help="print the networks' names")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    return parser.parse_args(words)


def _run(options: argparse.Namespace) -> int:
    chosen = _chosen(options.only)
    if options.list:
        out.print("\n".join(network.name for network in chosen), markup=False)
        return 0
    path = options.out / "networks.csv"
    rows = {row.network: row for row in read_rows(path)}
    if not options.table:
        options.out.mkdir(parents=True, exist_ok=True)
        for network in chosen:
            if network.name in rows and not options.again:
                continue
            row = tried(network, options)
            rows = {other.network: other for other in read_rows(path)} | {row.network: row}  # another may run
            write_rows(path, list(rows.values()))
            err.print(_line(row), markup=False)
    found = [rows[network.name] for network in chosen if network.name in rows]
    if options.json:
        out.print(json.dumps([asdict(row) for row in found], indent=1), markup=False)
    else:
        out.print(f"{Machine.here()}\n\n{table(found)}", markup=False)
    return int(any(row.outcome in FAULTS for row in found))


def _chosen(only: str) -> list[Network]:
    """The networks that ``only`` names; ``EspalierError`` for a word that names none."""
    words = [word for word in only.split(",") if word]
    for word in words:
        if not any(fnmatch.fnmatch(network.name, word) for network in NETWORKS):
            raise unknown("network", word, [network.name for network in NETWORKS])
    return [network for network in NETWORKS if any(fnmatch.fnmatch(network.name, word) for word in words)]


def _line(row: Row) -> str:
    return (f"{row.network}: {row.outcome}, {row.against_torch:.2f} x PyTorch, {row.against_inductor:.2f} x "
            f"torch.compile, pruned {row.gained:.2f} of {row.reduction:.2f}; {row.note}")


def tried(network: Network, options: argparse.Namespace) -> Row:
    """What came of ``network`` in a process of its own, which has ``options.seconds`` for each step."""
    asked = {"inductor": not options.no_inductor, "pruned": not options.no_pruned}
    words = [network.name, str(options.out), str(options.measure)]
    command = [sys.executable, "-m", f"{__package__}.child", *words, *(name for name in asked if asked[name])]
    log = options.out / f"{network.name.replace(':', '-')}.log"
    with log.open("w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        return _heard(Row(network.name, network.package, EXCEPTION), child, options.seconds)


def _heard(row: Row, child: subprocess.Popen[str], seconds: float) -> Row:
    """``row`` with all that ``child`` says; a child that is silent for ``seconds`` is ended."""
    step, begin = "start", time.perf_counter()
    known: dict[str, Any] = {}
    try:
        for said in heard(child, seconds):
            if "begin" in said:
                step, begin = said["begin"], time.perf_counter()
            else:
                known |= said
    except TimeoutError:
        text = f"{step}: no answer in {time.perf_counter() - begin:.0f} s"
        return replace(row, **known, outcome=HANG, note=text)
    status = child.wait()
    if "outcome" not in known:
        known |= {"outcome": CRASH, "note": f"{step}: the process ended with {status}"}
    return replace(row, **known)


if __name__ == "__main__":
    sys.exit(main())
