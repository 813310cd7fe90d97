"""From any model to a ``CompiledModel``: import, compile, and record a pair of input and output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EspalierError
from ..pipelines.driver import CompileOptions, Watch, compile_linalg, lower_linalg
from ..pipelines.named import DISPATCHES
from ..pipelines.parser import parse_pipeline
from ..pipelines.runner import Runner
from ..pipelines.target import VULKAN, Target
from ..runtime.batches import checked_batches
from ..runtime.compiled_model import CompiledModel
from ..runtime.memory import zeroed
from ..runtime.model_file import ModelFile
from ..runtime.states import RUNS, named_states
from ..runtime.structure import arguments
from ..runtime.tensors import array_of
from ..sparse_dialect.ir.mlir import ir
from .check import check
from .quiet import ONE_AT_A_TIME

if TYPE_CHECKING:
    from ..pipelines.codegen.iree import IreeModule

Recorded = tuple[list[np.ndarray], list[np.ndarray]]  # inputs and outputs of a run


def compile_model(model: Any, example_inputs: Any = (), target: Target | None = None,
                  options: CompileOptions | None = None,
                  progress: Callable[[str, int, int], None] | None = None,
                  watch: Watch | None = None, batch: Sequence[int] = ()) -> CompiledModel:
    """See ``espalier.compile``; ``watch`` looks at the passes."""
    target = target or Target.host()
    if target.triple:
        file = compile_file(model, example_inputs, target, options, progress, watch, batch)
        if target.triple != VULKAN:
            from ..pipelines.codegen.emit import cross_compiled

            file = cross_compiled(file, target, "model")
        return CompiledModel(file)
    options = options or CompileOptions()
    made = []
    for part in _parts(model, example_inputs, target, options, progress, watch, batch):
        made.append(_checked(part, target, options))
        del part  # the model of this batch, before that of the next is made
    return made[0] if len(made) == 1 else CompiledModel(joined([compiled.file for compiled in made]))


def _checked(part: _Part, target: Target, options: CompileOptions) -> CompiledModel:
    """The model of one batch, once it computes what PyTorch does, with machine code for this processor."""
    compiled = CompiledModel(part.file)
    if part.file.sample_inputs and not part.file.sample_outputs:
        compiled.record(part.file.sample_inputs)
    elif part.file.sample_outputs and options.check:
        check(compiled, part.file, lambda: import_any(part.model, part.inputs), target, options)
    compiled.keep_machine_code()
    return compiled


def compile_file(model: Any, example_inputs: Any, target: Target,
                 options: CompileOptions | None = None,
                 progress: Callable[[str, int, int], None] | None = None,
                 watch: Watch | None = None, batch: Sequence[int] = ()) -> ModelFile:
    """``model`` with code in the LLVM dialect for ``target``, and the recorded pair of input and output where
    PyTorch gives one; else the inputs alone. ``batch``: the sizes to compile for, none for the example's."""
    return joined([part.file for part in
                   _parts(model, example_inputs, target, options, progress, watch, batch)])


@dataclass(frozen=True)
class _Part:
    """The model of one batch size: its file, and what it was made from."""

    file: ModelFile
    model: Any
    inputs: Any


def _parts(model: Any, example_inputs: Any, target: Target, options: CompileOptions | None,
           progress: Callable[[str, int, int], None] | None, watch: Watch | None,
           batch: Sequence[int]) -> Iterator[_Part]:
    """Compiles ``model`` once a batch size, into one block of weights."""
    sizes = checked_batches(batch)
    if sizes and target.triple == VULKAN:
        raise EspalierError("--target vulkan compiles for one batch, that of the example inputs; leave out "
                            "--batch")
    constants: list[tuple[int, np.ndarray]] = []
    wanted: list[int | None] = [*sizes] or [None]
    for size in wanted:
        one, inputs = (model, example_inputs) if size is None else sized(model, example_inputs, size)
        file = _file(one, inputs, target, options, progress, watch, constants)
        if size is not None:
            file = replace(file, manifest={**file.manifest, "batch": size})
        if file.states and len(sizes) > 1:
            raise EspalierError("a model with states is compiled for one batch size, since its states are of "
                                f"one; found {', '.join(map(str, sizes))}")
        yield _Part(file, one, inputs)


def sized(model: Any, example_inputs: Any, size: int) -> tuple[Any, Any]:
    """``model`` (a module, an exported program or a ``.pt2`` file) and example inputs for a batch of
    ``size``; ``EspalierError`` where that cannot be told."""
    if isinstance(model, str | Path):
        if Path(model).suffix != ".pt2":
            raise EspalierError(f"'{model}': a batch is for PyTorch's modules and programs; an .onnx file's "
                                "sizes are given by --shape")
        model = _program(model, ())
    from .torch.batches import of_batch

    return of_batch(model, example_inputs, size)


def joined(files: Sequence[ModelFile]) -> ModelFile:
    """The models of several batch sizes as one file; each one's weights begin those of the next."""
    if len(files) == 1:
        return files[0]
    return replace(files[0], weights=files[-1].weights, variants=list(files[1:]))


def _file(model: Any, example_inputs: Any, target: Target, options: CompileOptions | None,
          progress: Callable[[str, int, int], None] | None, watch: Watch | None,
          constants: list[tuple[int, np.ndarray]]) -> ModelFile:
    if progress is not None:
        progress("import", 0, 1)
    imported = _import(model, example_inputs)
    file = compile_linalg(imported.module, options or CompileOptions(), target, progress, watch, constants)
    manifest = {**file.manifest, **imported.interface, **named_states(file.manifest, imported.states)}
    inputs, outputs = imported.inputs, imported.expected() if imported.inputs else None
    states = list(imported.states.values())
    del imported  # the dense weights go before the code is compiled
    return replace(file, manifest=manifest, sample_inputs=inputs, sample_outputs=outputs or [], states=states)


def lower_model(model: Any, example_inputs: Any, target: Target, options: CompileOptions, last: str,
                progress: Callable[[str, int, int], None] | None, watch: Watch) -> None:
    """Takes ``model`` through the stages up to ``last``, for the listeners of ``watch``."""
    if progress is not None:
        progress("import", 0, 1)
    lower_linalg(_import(model, example_inputs).module, options, target, last, progress, watch)


def iree_files(model: Any, example_inputs: Any, target: Target, options: CompileOptions, name: str,
               progress: Callable[[str, int, int], None] | None, watch: Watch) -> tuple[IreeModule, Recorded]:
    """``model`` for IREE on ``target``, files called ``name``, and the recorded pair, as ``compile_file`` has
    it; there states are the last inputs and outputs, which the host application carries on."""
    from ..pipelines.codegen.iree import check_target, iree_module

    check_target(target)
    if progress is not None:
        progress("import", 0, 1)
    imported = _import(model, example_inputs)
    root = imported.module.operation
    lower_linalg(imported.module, options, target, "vector", progress, watch)
    dispatches = parse_pipeline(f"builtin.module({','.join(DISPATCHES)})")
    Runner(dispatches, watch.instruments, allocate=zeroed).run(root)
    made = iree_module(root, target, name)
    outputs = (imported.expected() if imported.inputs else None) or []
    first = len(outputs) // RUNS if imported.states else len(outputs)
    return made, ([*imported.inputs, *imported.states.values()], outputs[:first])


@dataclass(frozen=True)
class _Imported:
    """
    A model as linalg on tensors.

    ``inputs``: the example's tensors, flat, as arrays. ``interface``: what the manifest says of how the model
    is called. ``expected``: what the model itself computes of ``inputs``, None where nothing here tells.
    ``states``: initial values of the states, which are the last inputs and outputs of ``module``, by name;
    ``expected`` then holds the outputs and the new states of two consecutive runs.
    """

    module: ir.Module
    inputs: list[np.ndarray]
    interface: dict[str, Any] = field(default_factory=dict)
    expected: Callable[[], list[np.ndarray] | None] = lambda: None
    states: dict[str, np.ndarray] = field(default_factory=dict)


def _import(model: Any, example_inputs: Any) -> _Imported:
    suffix = Path(model).suffix if isinstance(model, str | Path) else ""
    if suffix == ".mlir":
        from .mlir_file import load_mlir

        return _Imported(load_mlir(Path(model)), [array_of(x) for x in example_inputs])
    if suffix == ".onnx":
        return _import_onnx(Path(model), example_inputs)
    return _import_torch(model, example_inputs)


def _import_onnx(path: Path, example_inputs: Any) -> _Imported:
    """An ONNX file; without example inputs, seeded ones of the sizes that it says."""
    from .onnx.import_onnx import import_onnx
    from .onnx.run_onnx import example_inputs as drawn
    from .onnx.run_onnx import input_names, outputs_of

    names = input_names(path)
    if isinstance(example_inputs, Mapping):
        example_inputs = [example_inputs[name] for name in names if name in example_inputs]
    if hasattr(example_inputs, "shape"):
        example_inputs = [example_inputs]
    inputs = [np.array(array_of(x), order="C") for x in example_inputs]
    if inputs and len(inputs) != len(names):
        raise EspalierError(f"{path}: expected {len(names)} inputs ({', '.join(names)}), found {len(inputs)}")
    examples = drawn(path, {name: x.shape for name, x in zip(names, inputs, strict=False)})
    for name, array, example in zip(names, inputs, examples, strict=False):
        if array.dtype != example.dtype:
            raise EspalierError(f"{path}: input '{name}': expected {example.dtype}, found {array.dtype}")
    inputs = inputs or list(examples)
    module = import_onnx(path, [x.shape for x in inputs])
    interface = {"call": [[name, {"tensor": at}] for at, name in enumerate(names)]}
    return _Imported(module, inputs, interface, lambda: outputs_of(path, inputs))


def _import_torch(model: Any, example_inputs: Any) -> _Imported:
    """A module, a program, or a file that holds one."""
    from .torch.floats import interface_of
    from .torch.import_torch import import_program
    from .torch.signature import answer_of, call_of, parameters_of
    from .torch.state import initial_states, states_of

    args, kwargs = call_of(example_inputs)
    program = _program(model, example_inputs)
    module = model if program is not model and not isinstance(model, str | Path) else None
    parameters = parameters_of(program, module)
    interface: dict[str, Any] = {"call": [list(pair) for pair in parameters], "answer": answer_of(program),
                                 **interface_of(program)}
    examples = arguments(parameters, args, kwargs) if args or kwargs else []
    imported = import_program(program)
    names = states_of(imported)
    states = dict(zip(names, initial_states(program, names), strict=True))
    return _Imported(imported, [np.array(array_of(x), order="C") for x in examples], interface,
                     lambda: _torch_outputs(model, args, kwargs, names), states)


def _torch_outputs(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any],
                   states: Sequence[str]) -> list[np.ndarray] | None:
    """What PyTorch computes for the example inputs, so that the recorded pair proves equality with it; None
    for a file, and where the model's outputs are no plain tensors. Of a model with ``states`` two runs, each
    with the states that it leaves."""
    module = model.module() if hasattr(model, "graph_module") else model
    if not callable(module) or isinstance(module, str | Path):
        return None
    from .torch.plain_weights import plain_weights

    module = plain_weights(module)
    with ONE_AT_A_TIME:  # other threads may compile the same module
        return _outputs_of(module, args, kwargs, states)


def _outputs_of(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any],
                states: Sequence[str]) -> list[np.ndarray] | None:
    import torch
    from torch.utils._pytree import tree_leaves

    from .mlir_file import first_line
    from .torch.stable_order import StableOrder
    from .torch.state import check_states, own_states

    found: list[np.ndarray] = []
    training = {child: child.training for child in module.modules()}
    try:
        for child in training:
            child.training = False
        with torch.no_grad(), StableOrder(), own_states(module, states) as current:
            before = current()
            for _ in range(RUNS if states else 1):
                answer = module(*args, **kwargs)
                leaves = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, torch.Tensor)]
                check_states(states, before, current())
                found += [np.array(array_of(tensor), order="C") for tensor in (*leaves, *current())]
    except EspalierError:
        raise
    except Exception as error:  # the model's own code may raise anything, of what it sees in the data
        raise EspalierError(f"{type(module).__name__} itself fails for the example inputs in PyTorch: "
                            f"{first_line(error)}; pass inputs that it accepts") from error
    finally:
        for child, mode in training.items():
            child.training = mode
    return found


def import_any(model: Any, example_inputs: Any = ()) -> ir.Module:
    """``model`` as linalg on tensors, whatever it is (see ``espalier.compile``)."""
    return _import(model, example_inputs).module


def _program(model: Any, example_inputs: Any) -> Any:
    """``model`` as an exported program; a program is that already."""
    if isinstance(model, str | Path):
        if Path(model).suffix != ".pt2":
            raise EspalierError(f"'{model}': expected a .pt2, .onnx or .mlir file")
        from . import load_program

        return load_program(Path(model))[0]
    if type(model).__name__ == "ExportedProgram":
        return model
    if not hasattr(model, "named_parameters"):
        raise EspalierError("expected a torch module, an exported program or a path, "
                            f"found {type(model).__name__}")
    from .torch.import_torch import export_module

    return export_module(model, example_inputs)
