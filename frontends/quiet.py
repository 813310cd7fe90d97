"""Silence while PyTorch works: its warnings and log lines about its own internals help no user of ours.

And one thread at a time: PyTorch's exporter and importer keep state of the whole process (the hierarchy of
the module being exported, mode stacks), and so do warnings, log levels and stderr.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator

ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, log lines and what Python code prints to stderr; on one thread at a time."""
    with ONE_AT_A_TIME, _silence():
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
