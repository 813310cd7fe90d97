"""What a child process says, a JSON object a line, while it may crash or hang."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import Any


def heard(child: subprocess.Popen[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The objects that ``child`` prints, until it ends; other lines are passed over. A child that is silent
    for ``seconds`` is killed, and ``TimeoutError`` raised."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(child, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            child.kill()
            child.wait()
            raise TimeoutError from None
        if line is None:
            return
        yield json.loads(line)


def _read(child: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            lines.put(line)
    lines.put(None)
