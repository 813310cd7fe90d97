"""PyTorch programs to linalg on tensors.

torch-mlir does the translation (FX importer, then its two pipelines). Ours are the weights, which borrow
PyTorch's memory instead of passing through Python lists; the locations, which carry layer names; and the
errors, which fit on one line.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_leaves, tree_map

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.ir.mlir import ir
from ..lowering.torch_dialect import mark_unsigned, new_context, to_linalg
from ..mlir_file import check_static, first_line
from ..quiet import ONE_AT_A_TIME, quiet
from .bags import regular_bags
from .bfloat16 import carry_bfloat16, round_in_float32
from .constants import fold_constants
from .decompositions import table, whole_layers
from .effects import without_checks
from .floats import needs_widening, widen_floats
from .narrow import widen_integers
from .plain_weights import plain_weights
from .recurrent import free_length, keep_whole, mark_steps
from .selections import with_known_places
from .signature import call_of, constant_inputs, drop_constants
from .state import check_updates, keep_assignments, lift_states, mark_states, own_results

aten = torch.ops.aten
_RANDOM = torch.Tag.nondeterministic_seeded
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
RESHAPES: dict[Any, Any] = {aten.view.default: aten.reshape.default,
                            aten._unsafe_view.default: aten.reshape.default,
                            aten.view_as.default: aten.reshape_as.default}
DTYPES = (*FLOATS, torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


def import_module(module: torch.nn.Module, example_inputs: Any) -> ir.Module:
    """
    Exports ``module`` in inference mode and imports it as linalg on tensors, function ``main``.

    The result's constants borrow the module's memory. Raises ``EspalierError`` as ``export_module`` and
    ``import_program`` do.
    """
    return import_program(export_module(module, example_inputs))


def export_module(module: torch.nn.Module, example_inputs: Any) -> torch.export.ExportedProgram:
    """
    ``module`` in inference mode as a program, with its GRUs and LSTMs whole.

    ``example_inputs``: see ``call_of``. They fix structure, shapes, dtypes and every number, but for sizes
    marked by ``torch._dynamo.mark_dynamic``: the number of time steps of recurrent layers may be free.
    Pruning masks (weight_orig, weight_mask) are folded and sparse weights made dense first. Raises
    ``EspalierError`` for TorchScript and quantised modules, and one that torch.export cannot trace.
    """
    from ..pruning.masks import fold_masks

    with ONE_AT_A_TIME:  # another thread's export may have put fake weights into this module
        module = fold_masks(plain_weights(module))
        args, kwargs, dynamic_shapes = _with_free_sizes(module, *call_of(example_inputs))
    with quiet(), _inference(module), keep_whole(), keep_assignments(module):
        try:
            program = torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
            return with_known_places(program, args, kwargs, dynamic_shapes)
        except EspalierError:
            raise
        except Exception as error:  # torch.export raises whatever the model's own code raises
            name, reason = type(module).__name__, first_line(error) + _hint(error)
            raise EspalierError(f"cannot export {name} with torch.export: {reason}") from error


def import_program(program: torch.export.ExportedProgram) -> ir.Module:
    """
    Imports an exported program as linalg on tensors, function ``main``; the result owns its MLIR context.

    GRUs and LSTMs stay whole, as ``sparse.gru`` and ``sparse.lstm``, and their number of time steps may be
    free. Raises ``EspalierError`` for other dynamic shapes, values of an unsupported dtype, parameters that
    are not finite (named), and operations that torch-mlir does not lower (named, with the layer). Numbers and
    None among inputs and outputs are constants, and no part of ``main``. Buffers that the program overwrites
    are its last inputs and outputs (``state.py``).
    """
    context = new_context("importing PyTorch programs")
    length = free_length(program)
    _check_program(program, length)
    _check_finite(program)
    check_updates(program)
    from .importer import Importer, matrix_names

    with quiet(), torch.autocast("cpu", enabled=False):
        try:
            regular_bags(program)
            _reshape_views(program)
            if needs_widening(program):
                program = without_checks(program.run_decompositions(whole_layers()))
                own_results(program)
                widen_floats(program)
            program = without_checks(program.run_decompositions(table()))
            states = lift_states(program)
            _check_operations(program)
            drop_constants(program)
            matrices = matrix_names(program)
            tensors = fold_constants(program)
            _check_dtypes(program, tensors)
            carry_bfloat16(program)
            unsigned = widen_integers(program)
            importer = Importer(context, _arrays(tensors), matrices)
            importer.import_frozen_program(_with_all_buffers(program), func_name="main")
        except EspalierError:
            raise
        except Exception as error:  # the importer raises every kind of exception for what it does not know
            raise EspalierError(f"cannot import the program: {first_line(error)}") from error
    module = importer.module
    to_linalg(module)
    mark_unsigned(module, unsigned)
    mark_states(module, states)
    round_in_float32(module)
    if length is None:
        check_static(module, "the imported program")
    else:
        mark_steps(module, length)
    return module


def _hint(error: Exception) -> str:
    """What to do about numbers that only data tell: an index into a ring buffer, or a branch."""
    if type(error).__name__ != "GuardOnDataDependentSymNode":
        return ""
    return ("; index by tensors: x.index_select(0, at) and x.index_copy_(0, at, y) with at of shape [1]; a "
            "branch on data is torch.where's, or stays Python by torch.compile(module, backend='espalier')")


def _reshape_views(program: torch.export.ExportedProgram) -> None:
    """Views of memory become reshapes, in place: decompositions (attention's) give strides of their own, of
    which there may be no such view."""
    for node in program.graph.nodes:
        node.target = RESHAPES.get(node.target, node.target)


# -- checks -----------------------------------------------------------------------------------


def _check_program(program: torch.export.ExportedProgram, length: Any) -> None:
    """Tensors of known dtype in, tensors out, their sizes static or the symbol ``length``."""
    signature = program.graph_signature
    parameters = {*signature.inputs_to_parameters, *signature.inputs_to_buffers,
                  *signature.inputs_to_lifted_tensor_constants, *constant_inputs(program)}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name not in parameters:
            _check_input(node.name, value, length)
        if node.op == "output":
            results = [result for result in node.args[0] if isinstance(result, torch.fx.Node)]
            if not results:
                raise EspalierError("expected a tensor as output, found numbers or nothing at all")
            for number, result in enumerate(results):
                _check_output(number, result.meta.get("val"), length)
        for tensor in value if isinstance(value, list | tuple) else [value]:
            _check_size(node, tensor)


def _check_size(node: torch.fx.Node, value: object) -> None:
    """No size that only the numbers in a tensor tell: torch-mlir's passes would not come back."""
    if isinstance(value, torch.Tensor) and free_unbacked_symbols(value):
        raise EspalierError(f"operation '{node.name}' ({node.target}) gives a shape that depends on the "
                            "data, as boolean indexing and nonzero do; expected static shapes: use "
                            "torch.where or masked_fill, or leave the selection to the caller")


def _check_operations(program: torch.export.ExportedProgram) -> None:
    """Nothing random, no values for the places of a mask, and no reshape without elements, whose lowering in
    torch-mlir would end the process."""
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and _RANDOM in node.target.tags:
            raise EspalierError(f"operation '{node.name}' ({node.target}) is random; expected a model that "
                                "computes the same each time, call .eval() before exporting it")
        if node.target is aten.index_put.default and any(
                index is not None and index.meta["val"].dtype == torch.bool for index in node.args[1]):
            raise EspalierError(f"operation '{node.name}' ({node.target}) assigns as many values as a mask "
                                "holds places, which only data tell; use torch.where(mask, y, x)")
        if node.target is aten.view.default:
            shape = node.meta["val"].shape
            if any(isinstance(size, int) and size == 0 for size in shape):
                raise EspalierError(f"operation '{node.name}' reshapes a tensor without elements to "
                                    f"{'x'.join(map(str, shape))}; expected inputs that hold elements")


def _check_dtypes(program: torch.export.ExportedProgram, tensors: Mapping[str, torch.Tensor]) -> None:
    """Dtypes that we know, of what a run computes and of what it reads; weights may be made by others."""
    for name, tensor in tensors.items():
        _check_dtype(f"parameter '{name}'", tensor.dtype)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for tensor in value if isinstance(value, list | tuple) else [value]:
            if isinstance(tensor, torch.Tensor):
                _check_dtype(f"operation '{node.name}'", tensor.dtype)


def _check_input(name: str, value: object, length: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise EspalierError(f"input '{name}': expected a tensor, found {type(value).__name__}")
    for dim, size in enumerate(value.shape):
        if not _is_known(size, length):
            raise EspalierError(f"input '{name}': dimension {dim} is dynamic; expected static shapes "
                                "(but for the number of time steps of recurrent layers); compile it for the "
                                "batch sizes that you need: --batch 1,8 (batch=(1, 8) in Python)")
    _check_dtype(f"input '{name}'", value.dtype)


def _check_output(number: int, value: object, length: Any) -> None:
    if not isinstance(value, torch.Tensor):
        raise EspalierError(f"output {number}: expected a tensor, found a number that depends on the input")
    if length is None:
        return
    for dim, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
        if not _is_known(size, length):
            found = str(size).replace(str(length), "T")
            raise EspalierError(f"output {number}: dimension {dim} is {found} for T time steps; "
                                "expected a number, or T itself")


def _is_known(size: Any, length: Any) -> bool:
    """Whether ``size`` is a number or the symbol ``length``."""
    return isinstance(size, int) or (length is not None and size.node.expr == length.node.expr)


def _check_dtype(what: str, dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        names = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
        raise EspalierError(f"{what} has dtype {str(dtype).removeprefix('torch.')}; expected one of {names}")


def _check_finite(program: torch.export.ExportedProgram) -> None:
    """No NaN among the program's tensors, and no infinity among trained parameters; masks hold -inf."""
    trained = set(program.graph_signature.parameters)
    for name, tensor in {**program.constants, **program.state_dict}.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in FLOATS or tensor.numel() == 0:
            continue
        smallest, largest = (float(v) for v in torch.aminmax(tensor.detach()))
        if math.isnan(smallest) or (name in trained and math.isinf(largest - smallest)):
            raise EspalierError(f"parameter '{name}' holds NaN or infinity; expected finite weights, "
                                "check the trained model")


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[int, tuple[str, np.ndarray]]:
    """Name and memory of every float tensor that holds anything, by the tensor's id."""
    return {id(tensor): (name, np.asarray(tensor.detach().cpu().numpy(), order="C"))
            for name, tensor in tensors.items() if tensor.dtype in FLOATS and tensor.numel()}


# -- running PyTorch -------------------------------------------------------------


def _with_free_sizes(module: torch.nn.Module, args: tuple[Any, ...],
                     kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The examples and, where sizes are marked as dynamic, torch.export's ``dynamic_shapes`` for ``module``.

    All marked sizes are one. Examples of size 1 get a second step: torch.export takes 1 for a constant.
    """
    if not any(getattr(x, "_dynamo_dynamic_indices", ()) for x in tree_leaves((args, kwargs))):
        return args, kwargs, None
    shapes, steps = torch.export.ShapesCollection(), torch.export.Dim("steps", min=1)

    def with_two_steps(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        dims = sorted(getattr(x, "_dynamo_dynamic_indices", ()))
        x = x.detach().clone()  # without the marks
        for dim in dims:
            x = x.repeat_interleave(2, dim) if x.shape[dim] == 1 else x
        shapes[x] = {dim: steps for dim in dims}
        return x

    args, kwargs = tree_map(with_two_steps, (args, kwargs))
    return args, kwargs, shapes.dynamic_shapes(module, args, kwargs)


def _with_all_buffers(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The importer looks for buffers in ``state_dict`` alone, where non-persistent ones are missing."""
    for name in program.graph_signature.inputs_to_buffers.values():
        if name not in program.state_dict:
            program.state_dict[name] = program.constants[name]
    return program


@contextlib.contextmanager
def _inference(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode for every submodule, and each one's own mode again afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


__all__ = ["export_module", "import_module", "import_program"]
