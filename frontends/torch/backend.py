"""``torch.compile(model, backend="espalier")``: each graph that dynamo captures becomes a compiled model.

    fast = torch.compile(module.eval(), backend="espalier", options={"threads": 2})
    with torch.no_grad():
        y = fast(x)

Parameters and buffers, which dynamo hands over as inputs, are frozen into the code. They are watched: a
model whose weights changed is compiled again. Compilation happens on the first call, when every size is
known, and once for each set of sizes; the next process takes what this one compiled (``graph_cache.py``).

Whatever Espalier does not take runs in PyTorch, with one warning that names it: operations
(``partition.py``), or all of a graph that asks for gradients, updates its own state, or is not on the CPU.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from ...errors import EspalierError, unknown
from ...pipelines.driver import CompileOptions
from ...pipelines.options import check_fields
from ...runtime.compiled_model import CompiledModel
from ...runtime.structure import Slot
from ...runtime.tensors import checked_threads
from ..compile import compile_model
from .graph_cache import compiled, key_of, noted
from .import_torch import export_module
from .partition import eager_nodes, functional, split
from .sharing import placed, places_of, shares_memory

WATCHED = 1 << 14  # bytes of a buffer that are looked at: BatchNorm writes its statistics without a trace
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass(frozen=True)
class Settings:
    """What ``options=`` may say; see ``espalier``."""

    threads: int | None = None
    sparse: bool | Literal["always"] = True
    eliminate_redundant_loads: bool = True
    strict: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        checked_threads(self.threads or 0)


OPTIONS = tuple(field.name for field in fields(Settings))


def espalier(graph: torch.fx.GraphModule, example_inputs: Sequence[Any], *,
             options: Mapping[str, Any] | None = None, mode: str | None = None) -> Callable[..., Any]:
    """
    The dynamo backend: a function that runs ``graph``.

    ``options``: ``threads`` (default: PyTorch's number), ``sparse`` and ``eliminate_redundant_loads`` as in
    ``CompileOptions``; ``strict`` (False: what Espalier does not take runs in PyTorch, with a warning; True:
    it raises ``EspalierError``); ``cache`` (True: compiled graphs are kept on disk). ``mode``: PyTorch's,
    which all mean the same here. Raises ``EspalierError`` for other options, values of other types and other
    modes.
    """
    chosen = dict(options or {})
    for name in chosen:
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, " of torch.compile")
    if mode not in (None, *MODES):
        raise unknown("mode", str(mode), MODES, " of torch.compile")
    return _Runner(graph, Settings(**chosen))


class _Runner:
    """One graph, compiled for each set of sizes that it is called with."""

    def __init__(self, graph: torch.fx.GraphModule, settings: Settings) -> None:
        self._graph, self._settings = graph, settings
        self._options = CompileOptions(sparse=settings.sparse,
                                       eliminate_redundant_loads=settings.eliminate_redundant_loads)
        self._shares = shares_memory(graph)
        self._asks = _asks(graph)
        self._known: dict[tuple[Any, ...], tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {}
        self._warned: set[str] = set()

    def __call__(self, *arguments: Any) -> Any:
        """The graph's outputs, for the arguments in the order of its placeholders."""
        if reason := self._asks or _unfit(arguments):
            return self._eagerly(reason)(*arguments)
        key = tuple(None if _is_weight(a) else self._kind(a) for a in arguments)
        weights = [(a, *_version(a)) for a in arguments if _is_weight(a)]
        known = self._known.get(key)
        if known is None or (known[0] is not self._graph and any(
                a[0] is not b[0] or a[1:] != b[1:] for a, b in zip(weights, known[1], strict=True))):
            known = self._known[key] = (self._made(arguments), weights)
        return known[0](*arguments)

    def _kind(self, argument: Any) -> tuple[Any, ...]:
        """What of an argument decides about the code."""
        if not isinstance(argument, torch.Tensor):
            return type(argument), argument
        return tuple(argument.shape), argument.dtype, argument.stride() if self._shares else ()

    def _made(self, arguments: Sequence[Any]) -> Callable[..., Any]:
        """What runs the graph with these weights and sizes."""
        fixed = [None if _is_input(a) else a for a in arguments]
        try:
            places = places_of(self._graph, arguments) if self._shares else None
        except EspalierError as error:
            return self._eagerly(str(error))
        try:
            run = self._compiled(self._graph, fixed, arguments)
        except EspalierError as error:
            if self._settings.strict:
                raise
            run = self._in_parts(arguments, error)
        if places is None or run is self._graph:
            return run
        return lambda *values: placed(run(*values), places, values)

    def _compiled(self, graph: torch.fx.GraphModule, fixed: Sequence[Any],
                  arguments: Sequence[Any]) -> Callable[..., Any]:
        """``graph`` compiled, a function of all its arguments; ``fixed``: those that stay, else None."""
        inputs = tuple(a.detach() for a, stays in zip(arguments, fixed, strict=True) if stays is None)

        def make() -> CompiledModel:
            return compile_model(_Frozen(graph, fixed), inputs, options=self._options)

        if self._settings.cache:
            weights = [a if isinstance(a, torch.Tensor) else None for a in fixed]
            numbers = [None if isinstance(a, torch.Tensor) else a for a in fixed]
            key = key_of(graph, weights, [*inputs, *numbers], self._options)
            model = compiled(key, make)
        else:
            model = make()
        if model.states:
            raise EspalierError(f"the graph overwrites '{model.states[0].name}' when it runs, which is "
                                "PyTorch's; espalier.compile makes a model with states of its own")
        places = [at for at, stays in enumerate(fixed) if stays is None]
        results = model.answer_of([Slot(number) for number in range(len(model.outputs))])
        results = results if isinstance(results, tuple | list) else [results]

        def run(*values: Any) -> list[Any]:
            arrays = [values[at].detach().resolve_neg().numpy() for at in places]
            outputs = model.tensors(model.run(arrays, self._settings.threads or torch.get_num_threads()))
            return [outputs[result.number] if isinstance(result, Slot) else result
                    for result in results]

        return run

    def _in_parts(self, arguments: Sequence[Any], error: EspalierError) -> Callable[..., Any]:
        """The graph with as much of it compiled as can be; ``error``: why not all of it."""
        fixed = [None if _is_input(a) else a for a in arguments]
        inputs = tuple(a.detach() for a in arguments if _is_input(a))
        places = [at for at, stays in enumerate(fixed) if stays is None]
        try:
            whole = functional(export_module(_Frozen(self._graph, fixed), inputs))
            eager = self._eager_nodes(whole, fixed, inputs) if whole is not None else {}
            calls = [node for node in whole.graph.nodes if node.op == "call_function"] if whole else []
            if whole is None or not eager or len(eager) == len(calls):
                return self._eagerly(str(error))
            split(whole, eager, lambda part, weights: _Lazy(part, weights, self._compiled))
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                whole(*inputs)  # now every part is compiled
        except EspalierError as second:
            return self._eagerly(f"{error}; {second}" if str(second) != str(error) else str(error))
        operators = ", ".join(sorted(set(eager.values())))
        self._warn(f"{len(eager)} of {len(calls)} operations run in PyTorch: {operators}")
        parts = whole

        def run(*values: Any) -> Any:
            with torch.no_grad():
                return parts(*(values[at] for at in places))

        return run

    def _eager_nodes(self, whole: torch.fx.GraphModule, fixed: Sequence[Any],
                     inputs: Sequence[Any]) -> Mapping[str, str]:
        if not self._settings.cache:
            return eager_nodes(whole)
        numbers = [None if isinstance(a, torch.Tensor) else a for a in fixed]
        return noted(key_of(whole, [], [*inputs, *numbers], self._options), lambda: eager_nodes(whole))

    def _eagerly(self, reason: str) -> Callable[..., Any]:
        """The graph as it is, in PyTorch; an error where that was ruled out."""
        if self._settings.strict:
            raise EspalierError(f"backend 'espalier': {reason}")
        self._warn(f"a graph runs in PyTorch: {reason}")
        return self._graph

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"backend 'espalier': {message} (options={{'strict': True}} makes this an error)",
                          stacklevel=3)


class _Lazy:
    """A part of a graph, compiled when its inputs' sizes are seen first; they stay as they are."""

    def __init__(self, graph: torch.fx.GraphModule, weights: Sequence[Any],
                 compile_: Callable[..., Callable[..., Any]]) -> None:
        self._graph, self._weights, self._compile = graph, weights, compile_
        self._run: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._run is None:
            self._run = self._compile(self._graph, self._weights, arguments)
        outputs = self._run(*arguments)
        return outputs[0] if len(outputs) == 1 else outputs


class _Frozen(torch.nn.Module):
    """``graph`` with what is ``fixed`` (weights and numbers) filled in; its inputs are the others, None."""

    def __init__(self, graph: torch.fx.GraphModule, fixed: Sequence[Any]) -> None:
        super().__init__()
        self.graph = graph
        self._fixed: list[Any] = []
        names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        for name, argument in zip(names, fixed, strict=True):
            is_weight = isinstance(argument, torch.Tensor)
            self._fixed.append(name if is_weight else argument)
            if is_weight:
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


def _version(tensor: torch.Tensor) -> tuple[int, ...]:
    """What tells that ``tensor`` was written to or replaced; writes to its ``.data``, and to inference
    tensors, are not seen."""
    written = -1 if tensor.is_inference() else tensor._version
    if isinstance(tensor, torch.nn.Parameter) or tensor.nbytes > WATCHED or not tensor.numel():
        return written, tensor.data_ptr()
    return written, tensor.data_ptr(), zlib.crc32(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)


def _asks(graph: torch.fx.GraphModule) -> str:
    """What the graph turns on that Espalier does not do; empty where there is nothing."""
    for node in graph.graph.nodes:
        if node.target is torch._C._set_grad_enabled and node.args[0] and not torch.is_grad_enabled():
            return "it turns gradients on"
        if node.target is torch.amp.autocast_mode._enter_autocast and node.args[2]:
            return "it turns autocast on"
    return ""


def _unfit(arguments: Sequence[Any]) -> str:
    """Why this call is PyTorch's; empty where it is not."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on, whose dtypes it does not compute in"
    for argument in arguments:
        if not isinstance(argument, torch.Tensor):
            continue
        if torch.is_grad_enabled() and argument.requires_grad:
            return ("it is for inference, and gradients are asked for; call the compiled model under "
                    "torch.no_grad()")
        if argument.device.type != "cpu":
            return f"it runs on the CPU, found a tensor on '{argument.device}'"
        if argument.dtype == torch.bfloat16:
            return "it does not compute in bfloat16"
    return ""


__all__ = ["espalier"]
