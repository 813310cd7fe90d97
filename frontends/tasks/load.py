"""``--data path.py:function`` or ``--data package.module:function``: the task that the function returns."""

from __future__ import annotations

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ...errors import EspalierError
from .task import Task


def load_task(spec: str) -> Task:
    """Calls the function that ``spec`` names; whatever goes wrong in it is one ``EspalierError``."""
    path, colon, name = spec.rpartition(":")
    if not colon:
        raise EspalierError(f"--data expects path.py:function or package.module:function, found '{spec}'")
    if path.endswith(".py") and not Path(path).is_file():
        raise EspalierError(f"--data: {path}: no such file")
    try:
        module = _from_file(Path(path)) if path.endswith(".py") else import_module(path)
        function = getattr(module, name, None)
        if not callable(function):
            raise EspalierError(f"--data: {path}: no function '{name}'")
        task = function()
    except EspalierError:
        raise
    except Exception as error:  # user code may raise anything: it is input, and its message is what helps
        raise EspalierError(f"--data: {spec}: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise EspalierError(f"--data: {spec}: expected it to return an espalier.frontends.tasks.Task, found "
                            f"{type(task).__name__}")
    return task


def _from_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
