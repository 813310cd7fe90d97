"""``torch.compile(model, backend="espalier")``: each graph that dynamo captures becomes a compiled model.

    fast = torch.compile(module.eval(), backend="espalier", options={"threads": 2})
    with torch.no_grad():
        y = fast(x)

Parameters and buffers, which dynamo hands over as inputs, are frozen into the code. They are watched: a
model whose weights changed is compiled again. Compilation happens on the first call, when every size is
known, and once for each set of sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ...errors import EspalierError
from ...pipelines.driver import CompileOptions
from ...runtime.compiled_model import CompiledModel
from ..compile import compile_model

OPTIONS = ("sparse", "eliminate_redundant_loads", "threads")


def espalier(graph: torch.fx.GraphModule, example_inputs: Sequence[Any], *,
             options: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """
    The dynamo backend: a function that runs ``graph``.

    ``options``: ``threads`` (default: PyTorch's number), ``sparse`` and ``eliminate_redundant_loads`` as in
    ``CompileOptions``. Raises ``EspalierError`` for other options, and when called on what Espalier cannot
    compile: graphs that need gradients, that update their own state, tensors that are not on the CPU.
    """
    chosen = dict(options or {})
    unknown = sorted(set(chosen) - set(OPTIONS))
    if unknown:
        raise EspalierError(f"torch.compile: unknown option '{unknown[0]}'; "
                            f"expected one of {', '.join(OPTIONS)}")
    threads = chosen.pop("threads", None)
    return _Runner(graph, threads, CompileOptions(**chosen))


class _Runner:
    """One graph, compiled for each set of sizes that it is called with."""

    def __init__(self, graph: torch.fx.GraphModule, threads: int | None, options: CompileOptions) -> None:
        self._graph, self._threads, self._options = graph, threads, options
        self._compiled: dict[tuple[Any, ...], tuple[CompiledModel, list[tuple[torch.Tensor, int]]]] = {}

    def __call__(self, *arguments: Any) -> list[torch.Tensor]:
        """The graph's outputs, for the arguments in the order of its placeholders."""
        _check(arguments)
        key = tuple(None if _is_weight(a) else (tuple(a.shape), a.dtype) if isinstance(a, torch.Tensor) else a
                    for a in arguments)
        weights = [(a, _version(a)) for a in arguments if _is_weight(a)]
        known = self._compiled.get(key)
        if known is None or any(a is not b or v != w
                                for (a, v), (b, w) in zip(weights, known[1], strict=True)):
            known = self._compiled[key] = (self._compile(arguments), weights)
        arrays = [a.detach().numpy() for a in arguments if _is_input(a)]
        outputs = known[0].run(arrays, self._threads or torch.get_num_threads())
        return [torch.from_numpy(output) for output in outputs]

    def _compile(self, arguments: Sequence[Any]) -> CompiledModel:
        inputs = tuple(a.detach() for a in arguments if _is_input(a))
        return compile_model(_Frozen(self._graph, arguments), inputs, options=self._options)


class _Frozen(torch.nn.Module):
    """``graph`` with the weights and numbers among ``arguments`` filled in; its inputs are the others."""

    def __init__(self, graph: torch.fx.GraphModule, arguments: Sequence[Any]) -> None:
        super().__init__()
        self.graph = graph
        self._fixed: list[Any] = []
        names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        for name, argument in zip(names, arguments, strict=True):
            self._fixed.append(None if _is_input(argument) else name if _is_weight(argument) else argument)
            if _is_weight(argument):
                self.register_buffer(name, argument.detach())

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Calls the graph; a name in ``_fixed`` stands for the buffer so called."""
        rest = iter(inputs)
        values = [next(rest) if fixed is None else self.get_buffer(fixed) if isinstance(fixed, str) else fixed
                  for fixed in self._fixed]
        return self.graph(*values)


def _is_weight(argument: Any) -> bool:
    """A parameter or buffer of the model: dynamo marks the tensors whose address stays."""
    return (isinstance(argument, torch.nn.Parameter)
            or getattr(argument, "_dynamo_static_input_type", None) is not None)


def _is_input(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and not _is_weight(argument)


def _version(tensor: torch.Tensor) -> int:
    """How often ``tensor`` was written to; inference tensors do not count."""
    return -1 if tensor.is_inference() else tensor._version


def _check(arguments: Sequence[Any]) -> None:
    for argument in arguments:
        if not isinstance(argument, torch.Tensor):
            continue
        if torch.is_grad_enabled() and argument.requires_grad:
            raise EspalierError("backend 'espalier' is for inference, and gradients are asked for; "
                                "call the compiled model under torch.no_grad()")
        if argument.device.type != "cpu":
            raise EspalierError(f"backend 'espalier' runs on the CPU, found a tensor on '{argument.device}'")


__all__ = ["espalier"]
