"""From any model to a ``CompiledModel``: import, compile, and record a pair of input and output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EspalierError
from ..pipelines.driver import CompileOptions, compile_linalg
from ..pipelines.target import VULKAN, Target
from ..runtime.compiled_model import CompiledModel
from ..runtime.model_file import ModelFile
from ..sparse_dialect.ir.mlir import ir
from .check import check
from .quiet import ONE_AT_A_TIME


def compile_model(model: Any, example_inputs: Sequence[Any] = (), target: Target | None = None,
                  options: CompileOptions | None = None,
                  progress: Callable[[str, int, int], None] | None = None) -> CompiledModel:
    """See ``espalier.compile``."""
    target = target or Target.host()
    file = compile_file(model, example_inputs, target, options, progress)
    if target.triple == VULKAN:
        return CompiledModel(file)
    if target.triple:
        from ..pipelines.codegen.emit import cross_compiled

        return CompiledModel(cross_compiled(file, target, "model"))
    compiled = CompiledModel(file)
    options = options or CompileOptions()
    if len(example_inputs) and not file.sample_outputs:
        compiled.record(_arrays(example_inputs))
    elif file.sample_outputs and options.check:
        check(compiled, file, lambda: import_any(model, example_inputs), target, options)
    return compiled


def compile_file(model: Any, example_inputs: Sequence[Any], target: Target,
                 options: CompileOptions | None = None,
                 progress: Callable[[str, int, int], None] | None = None) -> ModelFile:
    """``model`` with code in the LLVM dialect for ``target``, and the recorded pair of input and output where
    PyTorch gives one."""
    if progress is not None:
        progress("import", 0, 1)
    module = import_any(model, example_inputs)
    to_file = compile_linalg
    if target.triple == VULKAN:
        from ..pipelines.vulkan import compile_vulkan as to_file
    file = to_file(module, options or CompileOptions(), target, progress)
    del module  # the dense weights go before the code is compiled
    outputs = _torch_outputs(model, example_inputs) if len(example_inputs) else None
    if outputs is None:
        return file
    return replace(file, sample_inputs=_arrays(example_inputs), sample_outputs=outputs)


def _arrays(tensors: Sequence[Any]) -> list[np.ndarray]:
    """Torch tensors or numpy arrays as contiguous numpy arrays."""
    return [np.asarray(x.detach().cpu().numpy() if hasattr(x, "detach") else x, order="C") for x in tensors]


def _torch_outputs(model: Any, example_inputs: Sequence[Any]) -> list[np.ndarray] | None:
    """What PyTorch computes for the example inputs, so that the recorded pair proves equality with it; None
    for a file, and where the model's outputs are no plain tensors."""
    module = model.module() if hasattr(model, "graph_module") else model
    if not callable(module) or isinstance(module, str | Path):
        return None
    with ONE_AT_A_TIME:  # other threads may compile the same module
        return _outputs_of(module, example_inputs)


def _outputs_of(module: Any, example_inputs: Sequence[Any]) -> list[np.ndarray] | None:
    import torch
    from torch.utils._pytree import tree_leaves

    training = {child: child.training for child in module.modules()}
    try:
        for child in training:
            child.training = False
        with torch.no_grad():
            outputs = module(*(torch.as_tensor(x) for x in example_inputs))
    finally:
        for child, mode in training.items():
            child.training = mode
    outputs = tree_leaves(outputs)  # flat, as the compiled model's are: an LSTM's are (y, (h, c))
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        return None
    return [np.array(output.numpy(), order="C") for output in outputs]


def import_any(model: Any, example_inputs: Sequence[Any] = ()) -> ir.Module:
    """``model`` as linalg on tensors, whatever it is (see ``espalier.compile``)."""
    if isinstance(model, str | Path):
        return _import_file(Path(model))
    if type(model).__name__ == "ExportedProgram":
        from .torch.import_torch import import_program

        return import_program(model)
    if not hasattr(model, "named_parameters"):
        raise EspalierError("expected a torch module, an exported program or a path, "
                            f"found {type(model).__name__}")
    from .torch.import_torch import import_module

    return import_module(model, example_inputs)


def _import_file(path: Path) -> ir.Module:
    if path.suffix == ".mlir":
        from .mlir_file import load_mlir

        return load_mlir(path)
    if path.suffix != ".pt2":
        raise EspalierError(f"'{path}': expected a .pt2 or .mlir file")
    from . import load_program

    program, _ = load_program(path)
    from .torch.import_torch import import_program

    return import_program(program)
