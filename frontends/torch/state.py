"""State: buffers that a model's ``forward`` overwrites become inputs and outputs of the compiled code.

    self.n += 1                                    main(%x, %n) {
    return x * self.n                         ->     %m = %n + 1
                                                     return %x * %m, %m
                                                   }

torch.export's signature of a decomposed program says which output is a buffer's new value. Whatever the
module takes and gives stays in front; behind it stand the states, in one order among inputs and outputs.
``main`` names them in its attribute ``espalier.states``. The runtime carries them from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, OutputSpec
from torch.fx import Node
from torch.nn.modules.module import register_module_buffer_registration_hook
from torch.utils._pytree import tree_map_only

from ...runtime.tensors import array_of
from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.ir.mlir import ir
from .retype import call, set_results

ATTRIBUTE = "espalier.states"


@contextmanager
def keep_assignments(module: torch.nn.Module) -> Iterator[None]:
    """
    While ``module`` is exported, assignments to buffers (``self.past = ...``) are copies into them at the
    end.

    torch.export sees those of the outermost module alone and forgets the others, without a word. What is
    assigned, and what the module returns, is copied first: either may be the buffer that is overwritten.
    Raises ``EspalierError`` for a buffer that gets another shape or dtype.
    """
    parts = set(module.modules())
    before: dict[tuple[torch.nn.Module, str], torch.Tensor] = {}

    def assigned(part: torch.nn.Module, name: str, value: Any) -> torch.Tensor | None:
        known = part._buffers.get(name)
        if part not in parts or known is None or not isinstance(value, torch.Tensor):
            return None
        before.setdefault((part, name), known)
        return value.clone()

    def ended(_module: torch.nn.Module, _args: Any, answer: Any) -> Any:
        if not before:
            return None
        answer = tree_map_only(torch.Tensor, torch.clone, answer)
        names = {part: name for name, part in module.named_modules()}
        for (part, leaf), buffer in before.items():
            value: Any = part._buffers[leaf]
            check_states([f"{names[part]}.{leaf}".lstrip(".")], [buffer], [value])
            if part is not module:
                buffer.copy_(value)
                part._buffers[leaf] = buffer
        before.clear()
        return answer

    hook: Any = assigned  # what it returns is registered instead, which PyTorch's annotation leaves out
    handles = [register_module_buffer_registration_hook(hook), module.register_forward_hook(ended)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_updates(program: ExportedProgram) -> None:
    """Raises ``EspalierError`` for a buffer that gets another shape, and for statistics of training.

    A buffer that ``forward`` assigns to is a copy into it in an exported program, which for another shape no
    later step understands.
    """
    buffers = program.graph_signature.inputs_to_buffers
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.copy_.default and node.args[0].name in buffers:
            known, new = (tuple(argument.meta["val"].shape) for argument in node.args[:2])
            if torch.Size(known) != torch.broadcast_shapes(known, new):
                raise _changed(buffers[node.args[0].name], _sizes(known), _sizes(new))
        if node.op == "call_function" and "batch_norm" in str(node.target) and _trains(node):
            names = [buffers[source.name] for source in node.all_input_nodes if source.name in buffers]
            if names:
                raise EspalierError(f"the model overwrites '{names[0]}' when it runs, as in training; call "
                                    ".eval() before exporting it")


def _trains(node: Node) -> bool:
    """Whether a batch norm uses the batch's own statistics."""
    schema: Any = getattr(node.target, "_schema", None)
    named = [argument.name for argument in schema.arguments] if schema is not None else []
    given = {**dict(zip(named, node.args, strict=False)), **node.kwargs}
    return given.get("training", given.get("train", False)) is True


def _changed(name: str, known: str, new: str) -> EspalierError:
    return EspalierError(f"buffer '{name}' is {known} and forward makes it {new}; expected a state of fixed "
                         "shape and dtype: use a buffer of the largest size, with an index beside it")


def lift_states(program: ExportedProgram) -> list[str]:
    """
    Makes the buffers that ``program`` (decomposed) overwrites its last inputs, and their new values its last
    outputs, in place; their names in this order.

    Raises ``EspalierError`` for an input that is overwritten, and for a state whose size is not fixed.
    """
    signature = program.graph_signature
    for name in signature.user_inputs_to_mutate.values():
        raise EspalierError(f"the model overwrites its input '{name}' when it runs; expected a model that "
                            "leaves its inputs as they are: return the new value")
    mutated = {spec.target: spec for spec in signature.output_specs
               if spec.kind == OutputKind.BUFFER_MUTATION}
    if not mutated:
        return []
    states = [spec for spec in signature.input_specs
              if spec.kind == InputKind.BUFFER and spec.target in mutated]
    names = [str(spec.target) for spec in states]
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    last = list(nodes.values())[-1]
    for name, spec in zip(names, states, strict=True):
        node = nodes[spec.arg.name]
        if not all(isinstance(size, int) for size in node.meta["val"].shape):
            raise EspalierError(f"buffer '{name}': expected a state of fixed shape, found a free size")
        if node is not last:
            last.append(node)
            last = node
        spec.kind, spec.target, spec.persistent = InputKind.USER_INPUT, None, None
    signature.input_specs[:] = [*(spec for spec in signature.input_specs if spec not in states), *states]
    _move_results(program, [mutated[name] for name in names])
    return names


def own_results(program: ExportedProgram) -> None:
    """Gives each new value of a buffer a node of its own, in place: PyTorch does not decompose a functional
    program again where it is an input (``self.before.copy_(self.now)``)."""
    output = next(node for node in program.graph.nodes if node.op == "output")
    results = list(output.args[0])
    for at, spec in enumerate(program.graph_signature.output_specs):
        if spec.kind == OutputKind.BUFFER_MUTATION and results[at].op == "placeholder":
            with program.graph.inserting_before(output):
                results[at] = call(program.graph, torch.ops.aten.clone.default, results[at])
    set_results(program, results)


def _move_results(program: ExportedProgram, specs: Sequence[OutputSpec]) -> None:
    """The results of ``specs`` become plain outputs, the last ones."""
    signature = program.graph_signature
    output = next(node for node in program.graph.nodes if node.op == "output")
    of = dict(zip(map(id, signature.output_specs), output.args[0], strict=True))
    order = [*(spec for spec in signature.output_specs if spec not in specs), *specs]
    output.args = (tuple(of[id(spec)] for spec in order),)
    for spec in specs:
        spec.kind, spec.target = OutputKind.USER_OUTPUT, None
    signature.output_specs[:] = order
    program.graph.lint()


def mark_states(module: ir.Module, names: Sequence[str]) -> None:
    """Writes the states' names onto ``main``."""
    if names:
        function = module.body.operations[0].operation
        with module.context:
            function.attributes[ATTRIBUTE] = ir.ArrayAttr.get([ir.StringAttr.get(name) for name in names])


def states_of(module: ir.Module) -> list[str]:
    """The names that ``mark_states`` wrote."""
    attributes = module.body.operations[0].operation.attributes
    return [ir.StringAttr(name).value for name in attributes[ATTRIBUTE]] if ATTRIBUTE in attributes else []


def initial_states(program: ExportedProgram, names: Sequence[str]) -> list[np.ndarray]:
    """Copies of what the buffers hold when the model is compiled."""
    known = {**program.constants, **program.state_dict}
    return [np.array(array_of(known[name]), order="C") for name in names]


@contextmanager
def own_states(module: torch.nn.Module, names: Sequence[str]) -> Iterator[Callable[[], list[torch.Tensor]]]:
    """``module`` with copies of its states, which runs may overwrite; yields what gives them. Its own come
    back at the end."""
    owners = [(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    before = [owner._buffers[leaf] for owner, leaf in owners]
    try:
        for (owner, leaf), tensor in zip(owners, before, strict=True):
            owner._buffers[leaf] = None if tensor is None else tensor.detach().clone()
        yield lambda: [getattr(owner, leaf) for owner, leaf in owners]
    finally:
        for (owner, leaf), tensor in zip(owners, before, strict=True):
            owner._buffers[leaf] = tensor


def check_states(names: Sequence[str], initial: Sequence[torch.Tensor],
                 states: Sequence[torch.Tensor]) -> None:
    """Raises ``EspalierError`` where a run in PyTorch leaves a state of another shape or dtype."""
    for name, known, new in zip(names, initial, states, strict=True):
        if (known.shape, known.dtype) != (new.shape, new.dtype):
            raise _changed(name, _kind(known), _kind(new))


def _kind(tensor: torch.Tensor) -> str:
    return f"{_sizes(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


__all__ = ["check_states", "check_updates", "initial_states", "keep_assignments", "lift_states",
           "mark_states", "own_results", "own_states", "states_of"]
