"""Trained weights into a model, and a pruned model out: plain files that every tool reads."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from ...errors import EspalierError
from ...files import replacing
from ..mlir_file import first_line
from ..quiet import quiet
from .checkpoint import steady

CONTAINERS = ("state_dict", "model_state_dict", "model")  # what training scripts keep a state dict under
WRAPPERS = ("module.", "_orig_mod.", "model.")  # what wrappers put before every name


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a state dict (``.pt``, read without running code, or ``.safetensors``) into ``model``; raises
    ``EspalierError`` for what is no state dict or another model's.

    One that lies in a dict of a training script is found, and names may begin as wrappers have them.
    """
    state = _read(path)
    while isinstance(state, dict) and not _is_state(state):
        state = next((state[name] for name in CONTAINERS if name in state), None)
    if not _is_state(state):
        raise EspalierError(f"--weights: {path}: expected a state dict of tensors")
    own = model.state_dict()
    for prefix in WRAPPERS:
        if not own.keys() & state.keys() and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    for name in dict.fromkeys([*own, *state]):
        here, there = (_about(tensors.get(name)) for tensors in (own, state))
        if here != there:
            raise EspalierError(f"--weights: {path}: '{name}' is {there} in the file, {here} in the model")
    model.load_state_dict(state)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise EspalierError(f"--weights: {path}: no such file")
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EspalierError(f"--weights: {path}: no state dict that can be read safely; expected what "
                            "torch.save(module.state_dict(), ...) writes") from error
    except Exception as error:  # damaged files fail in many ways
        raise EspalierError(f"--weights: {path}: no state dict that can be read safely: "
                            f"{first_line(error)}") from error


def _is_state(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items())


def _about(tensor: torch.Tensor | None) -> str:
    """What must agree: the shape, and what is not plain numbers in memory."""
    if tensor is None:
        return "missing"
    kinds = {"complex": tensor.is_complex(), "quantised": tensor.is_quantized, "meta": tensor.is_meta,
             "sparse": tensor.layout != torch.strided}
    return " ".join([str(list(tensor.shape)), *(kind for kind, found in kinds.items() if found)])


def exported(model: nn.Module, inputs: Sequence[Any]) -> torch.export.ExportedProgram:
    """``model`` in inference mode, on the CPU, as a program with the example ``inputs``; raises
    ``EspalierError`` where they do not run through it, or torch.export cannot trace it."""
    modes = {part: part.training for part in model.modules()}
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(model.eval().cpu(), tuple(inputs))
    except Exception as error:  # whatever the user's own code raises
        raise EspalierError(f"torch.export cannot trace {type(model).__name__} with its example inputs: "
                            f"{first_line(error)}") from error
    finally:
        for part, training in modes.items():
            part.training = training


def write_pruned(model: nn.Module, inputs: Sequence[Any], output: Path) -> list[Path]:
    """Writes the exported program ``output`` (.pt2), and beside it the state dict (.safetensors); each
    appears whole or not at all. Returns the paths."""
    program = exported(model, inputs)
    paths = [output, output.with_suffix(".safetensors")]
    with replacing(paths[0]) as file, steady(file) as writer:
        torch.export.save(program, writer)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    with replacing(paths[1]) as file:
        file.write(save(state))
    return paths
