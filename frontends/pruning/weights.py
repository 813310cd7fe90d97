"""Trained weights into a model, and a pruned model out: plain files that every tool reads."""

from __future__ import annotations

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


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a state dict (``.pt``, read without running code, or ``.safetensors``) into ``model``; raises
    ``EspalierError`` for what is no state dict or another model's."""
    if not path.is_file():
        raise EspalierError(f"--weights: {path}: no such file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        reason = str(error).strip().partition("\n")[0]
        raise EspalierError(f"--weights: {path}: no state dict that can be read safely: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EspalierError(f"--weights: {path}: expected a state dict of tensors")
    own = model.state_dict()
    for name in dict.fromkeys([*own, *state]):
        here = list(own[name].shape) if name in own else "not in the model"
        there = list(state[name].shape) if name in state else "not in the file"
        if here != there:
            raise EspalierError(f"--weights: {path}: '{name}' is {there}, in the model {here}")
    model.load_state_dict(state)


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
