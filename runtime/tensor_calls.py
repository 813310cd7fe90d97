"""Calls on PyTorch's tensors as they lie in memory: no arrays between, which would cost more than a small
model's run.

    model(x)  ->  torch.empty(...) ; entry(x.data_ptr(), ....data_ptr())

Whatever is not as plain as that (other dtypes, strides or devices, tensors of a class of their own, tensors
inside transformations) goes by arrays, which say what they expect.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .abi import FREE
from .executors.jit import JitExecutor
from .records import TensorSpec


class TensorCalls:
    """The calls of one model of fixed sizes and no states, on one thread."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec],
                 executor: JitExecutor) -> None:
        """PyTorch must be loaded already: nobody has a tensor without it."""
        self._torch = sys.modules["torch"]
        self._executor = executor
        self._cpu = self._torch.device("cpu")
        self._inputs, self._outputs = ([(tuple(spec.shape), getattr(self._torch, spec.dtype))
                                        for spec in specs] for specs in (inputs, outputs))

    @staticmethod
    def of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec],
           executor: Any) -> TensorCalls | None:
        """None where a size is free, or a dtype is none of PyTorch's, or other code than the host's runs."""
        specs = (*inputs, *outputs)
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(executor, JitExecutor) or any(
                FREE in spec.shape or not hasattr(torch, spec.dtype) for spec in specs):
            return None
        return TensorCalls(inputs, outputs, executor)

    def run(self, values: Sequence[Any]) -> list[Any] | None:
        """The outputs for ``values``; None, and nothing has run, where these are no plain tensors."""
        torch = self._torch
        if len(values) != len(self._inputs):
            return None
        for value, (shape, dtype) in zip(values, self._inputs, strict=True):
            if type(value) is not torch.Tensor or value.dtype is not dtype or value.shape != shape:
                return None
            if not value.is_cpu or value.layout is not torch.strided or value.is_neg() or (
                    not value.is_contiguous()):
                return None
        made = [torch.empty(shape, dtype=dtype, device=self._cpu) for shape, dtype in self._outputs]
        if not all(type(tensor) is torch.Tensor for tensor in made):
            return None  # a mode makes tensors of its own, which have no memory
        try:
            addresses = [tensor.data_ptr() for tensor in (*values, *made)]
        except RuntimeError:  # a transformation's wrapper
            return None
        self._executor.run_at(addresses)
        return made


__all__ = ["TensorCalls"]
