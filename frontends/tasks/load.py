"""``--data path.py:function`` or ``--data package.module:function``: the task that the function returns."""

from __future__ import annotations

from pathlib import Path

from ...errors import EspalierError
from ..user_code import result_of
from .task import Task


def load_task(spec: str) -> Task:
    """Calls the function that ``spec`` names; whatever goes wrong in it is one ``EspalierError``."""
    path, colon, name = spec.rpartition(":")
    if not colon:
        raise EspalierError(f"--data expects path.py:function or package.module:function, found '{spec}'")
    if path.endswith(".py") and not Path(path).is_file():
        raise EspalierError(f"--data: {path}: no such file")
    task = result_of(path, name, "--data: ")
    if not isinstance(task, Task):
        raise EspalierError(f"--data: {spec}: expected it to return an espalier.frontends.tasks.Task, found "
                            f"{type(task).__name__}")
    return task
