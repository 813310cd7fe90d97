"""``python -m support.kills FOLDER KILLS COMMAND ...``: runs a command again and again, and kills it.

Each run is a child (fork) that kills itself at a file-system event: where it opens a file to write, renames,
removes, makes a folder or starts a process, each run one event later than the run before. When there are no
more events, it dies at a moment that is drawn. Files that have their own names must be whole after every
kill. At last one run comes through. Prints whether each run was killed, then the last one's exit code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # here and below: what children would import each for itself
from espalier.frontends.compile import compile_file  # noqa: F401
from espalier.frontends.torch import import_torch  # noqa: F401
from espalier.runtime.model_file import ModelFile
from espalier.tools.espalier import app

WRITES = os.O_WRONLY | os.O_RDWR
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "subprocess.Popen",
          "os.truncate")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch(folder: Path, last: int) -> None:
    """Dies at event number ``last`` from here on."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if (writes and str(arguments[0]).startswith(str(folder))) or event in EVENTS:
            seen += 1
            if seen == last:
                die()

    sys.addaudithook(hook)


def run(folder: Path, command: list[str], event: int, seconds: float) -> int:
    """The status of one run in a child that dies at ``event``, or after ``seconds``; 0: never."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if event:
            watch(folder, event)
        if seconds:
            threading.Timer(seconds, die).start()
        app(command, standalone_mode=False)
        code = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(code)


def main() -> None:
    folder, kills, command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.environ["TMPDIR"] = str(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    tempfile.tempdir = str(folder)
    os.chdir(folder)

    torch.set_num_threads(1)
    moments, event, longest = random.Random(0), 0, 0.0
    for _ in range(kills):
        begin = time.monotonic()
        if longest:
            status = run(folder, command, 0, moments.uniform(0.01, longest))
        else:
            event += 1
            status = run(folder, command, event, 0)
            if not os.WIFSIGNALED(status):  # there are no more events
                longest = time.monotonic() - begin
        print(json.dumps(os.WIFSIGNALED(status)), flush=True)
        check_whole(folder)
    print(json.dumps(run(folder, command, 0, 0)), flush=True)


def check_whole(folder: Path) -> None:
    """Raises where a file with its own name is not whole."""
    for path in folder.iterdir():
        if path.suffix == ".espalier":
            ModelFile.read(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        elif path.suffix == ".sqlite":
            check_trials(path)
        elif path.suffix == ".pt2":
            assert zipfile.ZipFile(path).testzip() is None


def check_trials(path: Path, seen: list[int] = [0]) -> None:  # noqa: B006 it counts from kill to kill
    """Raises where a database is damaged, or has fewer trials than after the last kill."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if connection.execute("PRAGMA user_version").fetchone()[0]:
        trials = connection.execute("SELECT count(*) FROM trial").fetchone()[0]
        assert trials >= seen[0], (trials, seen)
        seen[0] = trials
    connection.close()


if __name__ == "__main__":
    main()
