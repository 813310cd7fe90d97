"""The two engines that every benchmark has: Espalier (sparse or dense mode) and PyTorch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import optional
from ..compiled import arrays, torch_module

ASLEEP_S = 0.01  # after which our threads sleep for certain (runtime/c/team.c)

if TYPE_CHECKING:
    from ...runtime.compiled_model import CompiledModel


class EspalierEngine:
    """A compiled model; ``variant`` tells which weights and kernels: ``sparse`` or ``dense``."""

    name = "espalier"

    def __init__(self, compiled: CompiledModel, inputs: Sequence[np.ndarray], variant: str) -> None:
        self.compiled, self.inputs, self.variant = compiled, list(inputs), variant
        self.threads = 1

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self) -> list[np.ndarray]:
        return self.compiled.run(self.inputs, self.threads)

    def wake_ups(self, runs: int) -> list[float]:
        """Seconds from the call until the second thread claims its first work, in each of ``runs`` runs that
        find the threads asleep; a run that the first thread ends alone gives none."""
        found = []
        for _ in range(runs):
            time.sleep(ASLEEP_S)
            self.run()
            found.append(self.compiled.wake_seconds())
        return [seconds for seconds in found if seconds is not None]

    def layer_seconds(self) -> dict[str, float]:
        """One profiled run: seconds by layer name; layers that run as one come under ``first+second``."""
        seconds = self.compiled.profile(self.inputs, self.threads)
        layers = self.compiled.layers
        before = {layer.fused_into: f"{layer.name}+" for layer in layers if layer.fused_into}
        return {before.get(layer.name, "") + layer.name: s
                for layer, s in zip(layers, seconds, strict=False) if not layer.fused_into}


class TorchEngine:
    """PyTorch, eager, on the unpruned weights: what the user has today."""

    name = "torch"
    variant = "dense"

    def __init__(self, model: Any, inputs: Sequence[Any]) -> None:
        self.module, self.inputs = torch_module(model), list(inputs)
        self.torch = optional("torch", "measuring PyTorch")

    def set_threads(self, threads: int) -> None:
        self.torch.set_num_threads(threads)

    def run(self) -> list[np.ndarray]:
        from torch.utils._pytree import tree_leaves

        with self.torch.inference_mode():
            return arrays(tree_leaves(self.module(*self.inputs)))

    def layer_seconds(self) -> dict[str, float]:
        """One whole run with a clock around every convolution and linear layer: seconds by module name."""
        seconds: dict[str, float] = {}
        started: dict[str, float] = {}
        nn = self.torch.nn

        def before(name: str) -> Any:
            return lambda module, args: started.__setitem__(name, time.perf_counter())

        def after(name: str) -> Any:
            return lambda module, args, result: seconds.__setitem__(
                name, seconds.get(name, 0.0) + time.perf_counter() - started[name])

        layers = [(name, module) for name, module in self.module.named_modules()
                  if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))]
        hooks = [hook for name, module in layers for hook in (module.register_forward_pre_hook(before(name)),
                                                              module.register_forward_hook(after(name)))]
        try:
            self.run()
        finally:
            for hook in hooks:
                hook.remove()
        return seconds
