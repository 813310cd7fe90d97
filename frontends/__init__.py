"""Ways in: reference networks, Python files, ``torch.export`` programs, ``.onnx`` and ``.mlir`` files, and
folders of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import EspalierError, optional, unknown
from .models import NETWORKS, reference_model
from .pruning.names import Names
from .user_code import result_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    Model = nn.Module | ExportedProgram | Path

__all__ = ["NETWORKS", "load_model", "load_program", "reference_model"]


def load_model(spec: str, prune: str | None = None, seed: int = 0, steps: int | None = None,
               trust: bool = False, names: Names | None = None,
               shapes: Mapping[str, Sequence[int]] | None = None,
               weights: str | Path = "") -> tuple[Model, tuple[Any, ...]]:
    """What the user calls MODEL, with example inputs: a module, a program, or the path of a file.

    ``spec`` is a reference network's name, ``path.py:function`` (the function returns ``(module,
    example_inputs)``), a ``.pt2`` file, an ``.onnx`` file (its example inputs are drawn from ``seed``, in
    ``shapes`` where the file leaves sizes free), an ``.mlir`` file (whose example inputs are empty: its
    function's types say them) or a folder of Hugging Face's (``hugging_face.load_folder``). ``prune`` applies
    to the layers of modules (the first two and the last) that ``names`` chooses, ``seed`` and ``steps`` (time
    steps of the example) to reference networks. A ``.pt2`` file that could run
    code when it is read needs ``trust``; a Python file is run as it is. ``weights``: a state dict
    (``.safetensors`` or ``.pth``) for the first two, before they are pruned. Raises ``EspalierError`` that
    names what is wrong.
    """
    path, colon, function = spec.rpartition(":")
    folder = spec not in NETWORKS and Path(spec).is_dir()
    if shapes and not (spec.endswith(".onnx") or folder):
        raise EspalierError(f"{spec}: --shape works on .onnx files and Hugging Face's folders only")
    if weights:
        return _with_weights(spec, Path(weights), prune, seed, steps, names)
    if spec in NETWORKS:
        return reference_model(spec, prune, seed, steps, names)
    if steps is not None:
        raise EspalierError(f"{spec}: --steps works on recurrent reference networks only")
    if colon and path.endswith(".py"):
        return _from_python(_existing(path), function, prune, names)
    if folder:
        from .hugging_face import load_folder

        return _pruned(*load_folder(Path(spec), shapes, seed), prune, names)
    suffix = Path(spec).suffix
    if suffix not in (".pt2", ".onnx", ".mlir"):
        raise unknown("model", spec, [*NETWORKS, "path.py:function", "a .pt2 file", "an .onnx file",
                                      "an .mlir file", "a folder of Hugging Face's"])
    if prune:
        raise EspalierError(f"{spec}: --prune works on reference networks, path.py:function and Hugging "
                            "Face's folders only")
    if suffix == ".onnx":
        from .onnx.run_onnx import example_inputs

        return _existing(spec), example_inputs(spec, shapes, seed)
    return load_program(spec, trust) if suffix == ".pt2" else (_existing(spec), ())


def _with_weights(spec: str, weights: Path, prune: str | None, seed: int, steps: int | None,
                  names: Names | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """A module with trained weights, then pruned."""
    if spec not in NETWORKS and ".py:" not in spec:
        raise EspalierError(f"{spec}: --weights works on reference networks and path.py:function only")
    module, inputs = load_model(spec, None, seed, steps)
    optional("safetensors", "--weights")
    from .pruning.project import prune_module
    from .pruning.weights import load_weights

    load_weights(cast("nn.Module", module), weights)
    return prune_module(cast("nn.Module", module), prune or (), names), inputs


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise EspalierError(f"{path}: no such file")
    return Path(path)


def _from_python(path: Path, name: str, prune: str | None,
                 names: Names | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """Runs the file, calls its function, and prunes a copy of the module that comes back."""
    torch = optional("torch", f"a model in {path.name}")

    result = result_of(path, name)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], torch.nn.Module)):
        raise EspalierError(f"{path}:{name}: expected it to return (module, example_inputs), found "
                            f"{type(result).__name__}")
    module, inputs = result
    return _pruned(module, tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), prune, names)


def _pruned(module: nn.Module, inputs: tuple[Any, ...], prune: str | None,
            names: Names | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """``module`` in inference mode, pruned where ``prune`` says how, and its ``inputs``."""
    if prune:
        from .pruning.project import prune_module

        prune_module(module, prune, names)
    return module.eval(), inputs


def load_program(path: str | Path, trust: bool = False) -> tuple[ExportedProgram, tuple[Any, ...]]:
    """A program that ``torch.export.save`` wrote, with its example inputs; else an ``EspalierError``, also
    where reading it would run code in it and ``trust`` is not given."""
    from .torch.pt2 import load_pt2

    program = load_pt2(_existing(path), trust)
    if program.example_inputs is None:
        raise EspalierError(f"{path}: the program was saved without example inputs")
    if len(program.example_inputs) != 2:
        raise EspalierError(f"{path}: the program's example inputs are no pair of inputs and keywords")
    inputs, keywords = program.example_inputs
    if keywords:
        raise EspalierError(f"{path}: keyword inputs are not supported, found {', '.join(keywords)}")
    return program, tuple(inputs)
