"""Espalier: an MLIR compiler for pruned neural networks.

    compiled = espalier.compile(module, (example,))      # torch module, exported program, .pt2 or .mlir path
    y = compiled(x)
    torch.compile(module, backend="espalier")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import EspalierError

if TYPE_CHECKING:
    from .pipelines.driver import CompileOptions
    from .pipelines.target import Target
    from .runtime.compiled_model import CompiledModel

__all__ = ["CompileOptions", "CompiledModel", "EspalierError", "Target", "compile", "load",
           "register_dialect"]

_LAZY = {"CompileOptions": "pipelines.driver", "CompiledModel": "runtime.compiled_model",
         "Target": "pipelines.target",
         "register_dialect": "sparse_dialect"}


def __getattr__(name: str) -> Any:
    """Public names on first use, so that ``import espalier`` (and ``espalier --help``) loads no MLIR."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module 'espalier' has no attribute '{name}'")


def compile(model: Any, example_inputs: Any = (), *, target: Target | None = None,
            options: CompileOptions | None = None,
            progress: Callable[[str, int, int], None] | None = None) -> CompiledModel:
    """
    Compiles a model for the host CPU.

    ``model``: a ``torch.nn.Module`` (with ``example_inputs``, which fix shapes and dtypes), a
    ``torch.export.ExportedProgram``, or the path of a ``.pt2`` or linalg-on-tensors ``.mlir`` file.
    ``example_inputs``: one tensor, a tuple of the module's arguments, or a dict of its keyword arguments;
    tensors may stand in tuples, lists and dicts, and numbers, strings and None become constants.
    ``progress`` hears (step, done, total). Raises ``EspalierError``, in one line, for what cannot be
    compiled.
    """
    from .frontends.compile import compile_model

    return compile_model(model, example_inputs, target, options, progress)


def load(path: str, *, sha256: str = "", verify_key: str = "", mmap: bool = True) -> CompiledModel:
    """
    The compiled model in a file that ``CompiledModel.save`` or ``espalier compile`` wrote.

    A compiled model is a program: load only what you trust. ``sha256`` (64 hexadecimal digits) and
    ``verify_key`` (the path of a public Ed25519 key in PEM, for the signature in ``path`` + ``.sig``) say
    which file is meant, and are checked before anything in it runs. ``mmap=False`` reads the file instead of
    mapping it, so that it may change while the model lives. Raises ``EspalierError`` in one line.
    """
    from .runtime.compiled_model import CompiledModel

    return CompiledModel.load(path, sha256=sha256, verify_key=verify_key, mmap=mmap)
