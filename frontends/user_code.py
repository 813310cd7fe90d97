"""Functions of the user's that bring a model or a task: ``path.py:function``, ``package.module:function``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import EspalierError


def result_of(place: str | Path, name: str, before: str = "") -> Any:
    """
    What function ``name`` of a Python file (a path that ends in ``.py``) or of a module gives.

    Whatever goes wrong in it is one ``EspalierError``: ``before``, the place, and what was raised.
    """
    try:
        module = _from_file(Path(place)) if str(place).endswith(".py") else import_module(str(place))
        function = getattr(module, name, None)
        if not callable(function):
            raise EspalierError(f"{before}{place}: no function '{name}'")
        return function()
    except EspalierError:
        raise
    except SystemExit as error:
        raise EspalierError(f"{before}{place}:{name}: it ended the program ({error})") from error
    except Exception as error:  # user code may raise anything: it is input, and its message is what helps
        raise EspalierError(f"{before}{place}:{name}: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
