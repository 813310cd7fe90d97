"""Trained weights into a model, and a pruned model out: plain files that every tool reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from ...errors import EspalierError
from ...files import replacing


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


def write_pruned(model: nn.Module, inputs: Sequence[Any], output: Path,
                 summary: dict[str, Any]) -> list[Path]:
    """Writes the exported program ``output`` (.pt2), and beside it the state dict (.safetensors) and
    ``summary`` (.json); each appears whole or not at all. Returns the paths."""
    model = model.eval().cpu()
    with torch.no_grad():
        program = torch.export.export(model, tuple(inputs))
    paths = [output, output.with_suffix(".safetensors"), output.with_suffix(".json")]
    with replacing(paths[0]) as file:
        torch.export.save(program, file)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    with replacing(paths[1]) as file:
        file.write(save(state))
    with replacing(paths[2]) as file:
        file.write((json.dumps(summary, indent=1) + "\n").encode())
    return paths
