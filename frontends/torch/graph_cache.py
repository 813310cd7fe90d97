"""Compiled graphs of ``torch.compile`` on disk, so that the next process compiles nothing.

A graph is known by its code, its weights' bytes, its inputs' shapes and dtypes, the options, the versions of
PyTorch, torch-mlir and ours (with the state of its sources), and the processor. Files are model files in the
user's cache folder; the oldest go when all of them take more than ``MOST_BYTES``. Deleting them is safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ...errors import EspalierError
from ...files import cache_folder, replacing
from ...pipelines.driver import CompileOptions
from ...runtime.compiled_model import CompiledModel
from ...runtime.executors.machine_code import processor_flags

MOST_BYTES = 4 << 30
PACKAGE = Path(__file__).parents[2]


def key_of(graph: torch.fx.GraphModule, weights: Sequence[torch.Tensor | None], inputs: Sequence[Any],
           options: CompileOptions) -> str:
    """What tells this compilation from any other; ``weights`` in the graph's order, None between them."""
    digest = hashlib.blake2b(digest_size=20)

    def tell(*words: Any) -> None:
        digest.update(json.dumps([str(word) for word in words]).encode())

    codes = [part.code for part in graph.modules() if isinstance(part, torch.fx.GraphModule)]
    tell(_versions(), *codes, torch.get_default_dtype(), sorted(asdict(options).items()))
    tell(*((x.dtype, tuple(x.shape)) if isinstance(x, torch.Tensor) else x for x in inputs))
    for name, tensor in graph.state_dict().items():
        _tell_tensor(tell, digest, name, tensor)
    for number, tensor in enumerate(weights):
        if tensor is not None:
            _tell_tensor(tell, digest, str(number), tensor)
    return digest.hexdigest()


def _tell_tensor(tell: Callable[..., None], digest: Any, name: str, tensor: torch.Tensor) -> None:
    tell(name, tensor.dtype, tuple(tensor.shape))
    plain = tensor.detach().contiguous().reshape(-1)
    digest.update(plain.view(torch.uint8).numpy().data)


@cache
def _versions() -> list[str]:
    """Versions of all that decides about code."""
    found = [torch.__version__, *sorted(processor_flags())]
    for name in ("torch-mlir", "espalier-compiler"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(version(name))
    for folder, inner, files in os.walk(PACKAGE):
        inner[:] = [name for name in sorted(inner) if not name.startswith((".", "test", "__pycache__"))]
        for file in sorted(files):
            if file.endswith((".py", ".c", ".h")):
                status = os.stat(os.path.join(folder, file))
                found.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return found


def compiled(key: str, make: Callable[[], CompiledModel]) -> CompiledModel:
    """The model of ``key``, from disk or by ``make``; a file that cannot be used is made again."""
    path = _folder() / f"{key}.espalier"
    if path.is_file():
        with contextlib.suppress(EspalierError):
            model = CompiledModel.load(path)
            os.utime(path)
            return model
    model = make()
    with contextlib.suppress(EspalierError, OSError):  # a cache that cannot be written is none
        model.save(path)
        _shrink(_folder())
    return model


def noted(key: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """As ``compiled``, for a few words in JSON."""
    path = _folder() / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text())
        if isinstance(known, dict):
            return known
    made = make()
    with contextlib.suppress(EspalierError, OSError), replacing(path) as file:
        file.write(json.dumps(dict(made)).encode())
    return made


def _folder() -> Path:
    return cache_folder("graphs")


def _shrink(folder: Path) -> None:
    """Deletes the files that were used longest ago, beyond ``MOST_BYTES``."""
    files = sorted((status.st_mtime, status.st_size, path) for path in folder.iterdir()
                   for status in [path.stat()])
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size


__all__ = ["compiled", "key_of", "noted"]
