"""How a program is called: its inputs' and outputs' structures, and the constants among them taken out.

torch.export flattens arguments and results (PyTorch's pytrees) and keeps numbers, strings and None as
constants of the program. Compiled code has tensors only; ``runtime/structure.py`` puts both together again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves, tree_map, tree_unflatten

from ...runtime.structure import Slot, Structure, structure_of
from ...sparse_dialect.errors import EspalierError


def call_of(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and keyword arguments that ``example_inputs`` stands for: one tensor, a tuple or list of
    arguments, or a dict of keyword arguments; numpy arrays in it become tensors. A tensor that comes twice is
    two inputs: torch.export would take it for one, and the program never look at the second."""
    if isinstance(example_inputs, torch.Tensor | np.ndarray):
        example_inputs = (example_inputs,)
    for value in tree_leaves(example_inputs, is_leaf=lambda value: isinstance(value, PackedSequence)):
        _check_plain(value)
    if isinstance(example_inputs, Mapping):
        if not all(isinstance(name, str) for name in example_inputs):
            raise EspalierError("example inputs: expected the names of keyword arguments as a dict's keys")
        return (), _apart(tree_map(_as_tensor, dict(example_inputs)))
    if not isinstance(example_inputs, list | tuple):
        raise EspalierError("example inputs: expected a tensor, a tuple of arguments or a dict of keyword "
                            f"arguments, found {type(example_inputs).__name__}")
    return tuple(_apart(tree_map(_as_tensor, list(example_inputs)))), {}


def _check_plain(value: Any) -> None:
    if isinstance(value, PackedSequence):
        raise EspalierError("example inputs: a packed sequence holds as many rows as its lengths say; pass "
                            "the padded tensor, see torch.nn.utils.rnn.pad_packed_sequence")
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        raise EspalierError(f"example inputs: expected dense tensors, found layout "
                            f"{str(value.layout).removeprefix('torch.')}; pass x.to_dense()")
    if isinstance(value, torch.Tensor) and value.is_quantized:
        raise EspalierError("example inputs: expected plain tensors, found a quantised one; pass "
                            "x.dequantize()")


def _as_tensor(value: Any) -> Any:
    return torch.as_tensor(value) if isinstance(value, np.ndarray) else value


def _apart(values: Any) -> Any:
    """``values`` with a copy of each tensor that came before."""
    seen: set[int] = set()

    def own(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in seen:
            return value.clone()
        seen.add(id(value))
        return value

    return tree_map(own, values)


def parameters_of(program: torch.export.ExportedProgram,
                  module: torch.nn.Module | None = None) -> list[tuple[str, Structure]]:
    """Name and structure of each parameter that the program was exported with, in the order of ``module``'s
    ``forward``; without the module arguments are called ``input_0`` and so on."""
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    args, kwargs = _unflattened([spec.arg for spec in specs], program.call_spec.in_spec)
    known = _parameter_names(module) if module is not None else []
    names = [known[at] if at < len(known) else f"input_{at}" for at in range(len(args))]
    found = [*zip(names, args, strict=True), *kwargs.items()]
    order = {name: at for at, name in enumerate(known)}
    found[len(args) :] = sorted(found[len(args) :], key=lambda pair: order.get(pair[0], len(order)))
    return [(name, structure_of(value)) for name, value in found]


def answer_of(program: torch.export.ExportedProgram) -> Structure:
    """The structure of what the program returns."""
    specs = [spec for spec in program.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    return structure_of(_unflattened([spec.arg for spec in specs], program.call_spec.out_spec))


def _unflattened(leaves: Sequence[Any], spec: Any) -> Any:
    """The tree of ``spec`` with slots for tensors, numbered in order, and the constants themselves."""
    values: list[Any] = []
    count = 0
    for leaf in leaves:
        if isinstance(leaf, ConstantArgument):
            values.append(leaf.value)
        else:
            values.append(Slot(count))
            count += 1
    return tree_unflatten(values, spec)


def _parameter_names(module: torch.nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
             inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(module.forward).parameters.items()
            if parameter.kind in kinds]


def constant_inputs(program: torch.export.ExportedProgram) -> set[str]:
    """The names of the placeholders that stand for numbers, strings and None."""
    return {spec.arg.name for spec in program.graph_signature.input_specs
            if isinstance(spec.arg, ConstantArgument)}


def drop_constants(program: torch.export.ExportedProgram) -> None:
    """Takes the constants out of a decomposed program's inputs and outputs, in place."""
    graph, constants = program.graph, constant_inputs(program)
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name in constants and not node.users:
            graph.erase_node(node)
        if node.op == "output":
            node.args = (tuple(result for result in node.args[0] if isinstance(result, torch.fx.Node)),)


__all__ = ["answer_of", "call_of", "constant_inputs", "drop_constants", "parameters_of"]
