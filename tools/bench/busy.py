"""Processes that compete for the machine while others are measured, as other apps do on a phone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Ends with its parent, whatever becomes of that: reading standard input returns when the parent is gone.
_SPIN = """
import sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
while True:
    pass
"""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keeps ``count`` processes computing, each on one thread, wherever the system puts them."""
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN], stdin=subprocess.PIPE) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
