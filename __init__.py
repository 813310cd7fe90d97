"""Espalier: an MLIR compiler for pruned neural networks.

    espalier.prune(module, "pattern:entries=4,patterns=8,connectivity=3.6")
    compiled = espalier.compile(module, (example,))     # torch module, exported program, .pt2, .onnx, .mlir
    y = compiled(x)
    torch.compile(module, backend="espalier")
    espalier.executorch.EspalierPartitioner(...)        # with the extra hosts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import EspalierError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from .passes import add_sparse_passes
    from .pipelines.driver import CompileOptions, Watch
    from .pipelines.named import PIPELINES
    from .pipelines.target import Target
    from .runtime.compiled_model import CompiledModel
    from .sparse_dialect import register_dialect

__all__ = ["PIPELINES", "CompileOptions", "CompiledModel", "EspalierError", "Target", "__version__",
           "add_sparse_passes", "compile", "irdl_path", "load", "prune", "register_dialect"]

_LAZY = {"CompileOptions": "pipelines.driver", "CompiledModel": "runtime.compiled_model",
         "PIPELINES": "pipelines.named", "Target": "pipelines.target", "add_sparse_passes": "passes",
         "register_dialect": "sparse_dialect"}


def __getattr__(name: str) -> Any:
    """Public names on first use, so that ``import espalier`` (and ``espalier --help``) loads no MLIR."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    if name == "executorch":
        from importlib import import_module

        from .errors import optional

        optional("executorch.exir", "espalier.executorch")
        return import_module(".frontends.executorch", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version("espalier-compiler")
    raise AttributeError(f"module 'espalier' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


def compile(model: Any, example_inputs: Any = (), *, target: Target | None = None,
            options: CompileOptions | None = None,
            progress: Callable[[str, int, int], None] | None = None,
            watch: Watch | None = None, batch: int | Sequence[int] = ()) -> CompiledModel:
    """
    Compiles a model for the host CPU.

    ``model``: a ``torch.nn.Module`` (with ``example_inputs``, which fix shapes and dtypes), a
    ``torch.export.ExportedProgram``, or the path of a ``.pt2``, ``.onnx`` or ``.mlir`` file (linalg on
    tensors, TOSA or torch-mlir's dialect).
    ``example_inputs``: one tensor, a tuple of the module's arguments, or a dict of its keyword arguments;
    tensors may stand in tuples, lists and dicts, and numbers, strings and None become constants.
    ``progress`` hears (step, done, total); ``watch`` (``pipelines.driver.Watch``) has instruments that look
    at every pass, and listeners that hear the IR between stages. ``batch``: the batch sizes to compile for,
    such as ``(1, 8, 32)``, which share their weights; a run takes the code for its inputs' batch, and raises
    where there is none. Of a module, the batch is the first dimension of every tensor that has as many
    entries there as the first one; a program says it by ``torch.export.Dim``. None: the example's sizes.
    Raises ``EspalierError``, in one line, for what cannot be compiled.
    """
    from .frontends.compile import compile_model

    return compile_model(model, example_inputs, target, options, progress, watch,
                         [batch] if isinstance(batch, int) else batch)


def load(path: str, *, sha256: str | None = None, verify_key: str | None = None,
         mmap: bool = True) -> CompiledModel:
    """
    The compiled model in a file that ``CompiledModel.save`` or ``espalier compile`` wrote.

    A compiled model is a program: load only what you trust. ``sha256`` (64 hexadecimal digits) and
    ``verify_key`` (the path of a public Ed25519 key in PEM, for the signature in ``path`` + ``.sig``) say
    which file is meant, and are checked before anything in it runs. ``mmap=False`` reads the file instead of
    mapping it, so that it may change while the model lives. Raises ``EspalierError`` in one line.
    """
    from .runtime.compiled_model import CompiledModel

    return CompiledModel.load(path, sha256=sha256, verify_key=verify_key, mmap=mmap)


def prune(module: nn.Module, spec: str, *, only: str = "", exclude: str = "") -> nn.Module:
    """
    Prunes a trained ``torch.nn.Module`` in place, once and without training, and returns it.

    ``spec``: what ``espalier compile --prune`` takes, such as
    ``pattern:entries=4,patterns=8,connectivity=3.6,linear=8`` (PatDNN, section 4) or ``bcr:rate=8`` (GRIM,
    section 4). ``only`` and ``exclude``: patterns of layer names, joined with commas. Weights are float32 on
    the CPU. Raises ``EspalierError``, before anything is changed, for a bad specification or weight. To
    train while pruning: ``espalier.frontends.pruning.Sparsifier``, or ``espalier prune``.
    """
    from .errors import optional

    optional("torch", "espalier.prune")
    from .frontends.pruning.names import Names
    from .frontends.pruning.project import prune_module

    return prune_module(module, spec, Names.parse(only, exclude))


def irdl_path() -> Path:
    """
    The file that declares the ``sparse`` dialect in IRDL, for ``mlir-opt --irdl-file`` of any compiler.

    Its first line says the dialect's version, which changes when an operation's name, operands or attributes
    do. It comes with the package; where that was not built (a checkout), it is written to the user's cache.
    Raises ``EspalierError`` where that cannot be written to.
    """
    from .sparse_dialect.dialect.irdl import irdl_path as path

    return path()
