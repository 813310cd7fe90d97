"""``python test/mutation/run.py [NAME ...]``: plants each bug of ``mutants.py`` in a copy of the tree and
runs its killers. Ends with 1 where a bug survives. ``--from N`` and ``--to N`` run a part."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LONGEST = 300  # seconds; a mutant that hangs is noticed too


def copied(folder: Path) -> Path:
    """The tracked files of the tree, as the package ``espalier`` in ``folder``."""
    tree = folder / "espalier"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    return tree


def plant(mutant: Mutant, tree: Path) -> None:
    """Changes the file, which must hold ``find`` once."""
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.find) != 1:
        raise SystemExit(f"{mutant.name}: expected '{mutant.find}' once in {mutant.file}, "
                         f"found it {text.count(mutant.find)} times")
    path.write_text(text.replace(mutant.find, mutant.replacement))


def killer_of(mutant: Mutant, tree: Path) -> str:
    """The first of the killers that fails; empty: it survives."""
    environment = {**os.environ, "PYTHONPATH": str(tree.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    for killer in mutant.killers:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *killer.split()]
        if killer.endswith(".mlir"):
            command = [str(Path(sys.executable).with_name("lit")), "-q", killer]
        try:
            done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True,
                                  timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return f"{killer} (hangs)"
        if done.returncode in (2, 3, 4, 5) and not killer.endswith(".mlir"):  # pytest could not run them
            raise SystemExit(f"{mutant.name}: {killer}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        if done.returncode:
            return killer
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which mutants; without: all")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the number of the first")
    parser.add_argument("--to", dest="last", type=int, default=len(MUTANTS), help="the one after the last")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS[given.first : given.last]
              if not given.names or mutant.name in given.names]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="espalier-mutants-") as folder:
        tree = copied(Path(folder))
        for mutant in chosen:
            kept = (tree / mutant.file).read_text()
            plant(mutant, tree)
            begin = time.monotonic()
            killer = killer_of(mutant, tree)
            survivors += not killer
            verdict = f"killed by {killer}" if killer else "SURVIVES"
            print(f"{MUTANTS.index(mutant)} {mutant.name}: {verdict} ({time.monotonic() - begin:.0f} s)",
                  flush=True)
            (tree / mutant.file).write_text(kept)
    print(f"{len(chosen)} mutants, {survivors} survive")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
