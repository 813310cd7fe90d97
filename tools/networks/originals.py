"""What a network is compared with and timed against: PyTorch, or ONNX Runtime for an ``.onnx`` file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...errors import optional
from ...frontends.onnx.run_onnx import input_names
from ..compiled import arrays


class TorchOriginal:
    """A module in evaluation mode, eager, on as many threads as PyTorch is told to use."""

    def __init__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.model, self.inputs = module, inputs

    @property
    def modules(self) -> int:
        """Convolutions, linear and recurrent modules."""
        kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase)
        return sum(isinstance(module, kinds) for module in self.model.modules())

    def outputs(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        """The tensors that it answers, flat."""
        with torch.inference_mode():
            return arrays(_tensors(self.model(*inputs)))

    def flat(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        """``inputs`` as a compiled model takes them."""
        return arrays(_tensors(inputs))

    def run(self) -> object:
        """What is timed."""
        with torch.inference_mode():
            return self.model(*self.inputs)


class OnnxOriginal:
    """A file in ONNX Runtime, on one thread."""

    def __init__(self, model: Path, inputs: Sequence[np.ndarray]) -> None:
        runtime = optional("onnxruntime", f"the model {model.name}")
        self.model, self.inputs = model, tuple(inputs)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._names = input_names(model)
        self.modules = 0

    def outputs(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        """Its outputs."""
        return list(self._session.run(None, dict(zip(self._names, inputs, strict=True))))

    def flat(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        """They are arrays already."""
        return list(inputs)

    def run(self) -> object:
        """What is timed."""
        return self.outputs(self.inputs)


Original = TorchOriginal | OnnxOriginal


def original_of(model: nn.Module | Path, inputs: tuple[Any, ...]) -> Original:
    """``model``, ready to be asked and timed."""
    if isinstance(model, Path):
        return OnnxOriginal(model, inputs)
    return TorchOriginal(model.eval(), inputs)


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


__all__ = ["OnnxOriginal", "Original", "TorchOriginal", "original_of"]
