"""What the tools need of the compiler, which is imported where it is used: ``--help`` stays quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EspalierError

if TYPE_CHECKING:
    from ..frontends.compile import Recorded
    from ..pipelines.codegen.iree import IreeModule
    from ..pipelines.driver import CompileOptions, Watch
    from ..pipelines.target import Target
    from ..runtime.compiled_model import CompiledModel
    from ..runtime.model_file import ModelFile

Progress = Callable[[str, int, int], None]  # (step, done, total)


@dataclass(frozen=True)
class Source:
    """MODEL as the command line names it: a network's name, ``path.py:function``, ``.pt2``, ``.onnx``,
    ``.mlir`` or a folder of Hugging Face's; ``steps``: time steps of a recurrent network's example."""

    spec: str
    prune: str | None = None
    seed: int = 0
    steps: int | None = None
    trust: bool = False  # a .pt2 file may run code when it is read
    only: str = ""  # patterns of layer names, joined with commas: what ``prune`` may touch
    exclude: str = ""
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)  # of inputs that have none
    weights: str = ""  # a state dict's path
    batch: int | None = None  # of the example inputs, in place of their own

    @property
    def name(self) -> str:
        """The network's name in tables and records: the spec without folders and suffix."""
        path, _, function = self.spec.partition(".py:")
        return f"{Path(path).name}:{function}" if function else Path(path).stem

    def load(self, pruned: bool = True) -> tuple[Any, tuple[Any, ...]]:
        """The model (module, exported program or path) and its example inputs; unpruned for dense peers."""
        from ..frontends import load_model
        from ..frontends.pruning.names import Names

        if (self.only or self.exclude) and not self.prune:
            raise EspalierError("--only and --exclude need --prune: they choose the layers that it prunes")
        model, inputs = load_model(self.spec, self.prune if pruned else None, self.seed, self.steps,
                                   self.trust, Names.parse(self.only, self.exclude), self.shapes,
                                   self.weights)
        if self.batch is not None:
            from ..frontends.compile import sized

            model, inputs = sized(model, inputs, self.batch)
        return model, tuple(inputs)

    def compile(self, *, sparse: bool = True, eliminate_redundant_loads: bool = True,
                database: str | None = None, options: CompileOptions | None = None,
                progress: Progress | None = None, watch: Watch | None = None,
                batch: Sequence[int] = ()) -> tuple[CompiledModel, list[np.ndarray]]:
        """Compiles the model, by ``options`` or what stands before them; also gives its example inputs."""
        from .. import CompileOptions
        from .. import compile as compile_model

        model, inputs = self.load()
        options = options or CompileOptions(sparse=sparse, database=database,
                                            eliminate_redundant_loads=eliminate_redundant_loads)
        compiled = compile_model(model, inputs, options=options, progress=progress, watch=watch, batch=batch)
        return compiled, compiled.sample_inputs or self.draw_inputs(compiled)

    def compile_for(self, target: Target, *, sparse: bool = True, eliminate_redundant_loads: bool = True,
                    database: str | None = None, options: CompileOptions | None = None,
                    progress: Progress | None = None, watch: Watch | None = None,
                    batch: Sequence[int] = ()) -> ModelFile:
        """Compiles the model, by ``options`` or what stands before them, down to code for ``target``, another
        machine."""
        from ..frontends.compile import compile_file
        from ..pipelines.driver import CompileOptions

        model, inputs = self.load()
        options = options or CompileOptions(sparse=sparse, database=database,
                                            eliminate_redundant_loads=eliminate_redundant_loads)
        return compile_file(model, inputs, target, options, progress, watch, batch)

    def for_iree(self, target: Target, options: CompileOptions, name: str, progress: Progress | None,
                 watch: Watch) -> tuple[IreeModule, Recorded]:
        """The model for IREE on ``target``, files called ``name``; inputs and outputs of a recorded run."""
        from ..frontends.compile import iree_files
        from ..pipelines.codegen.emit import identifier

        model, inputs = self.load()
        return iree_files(model, inputs, target, options, identifier(name), progress, watch)

    def lower(self, target: Target, options: CompileOptions, last: str, progress: Progress | None,
              watch: Watch) -> None:
        """Takes the model through the stages up to ``last``, for the listeners of ``watch``."""
        from ..frontends.compile import lower_model

        model, inputs = self.load()
        lower_model(model, inputs, target, options, last, progress, watch)

    def draw_inputs(self, compiled: CompiledModel) -> list[np.ndarray]:
        """Inputs for an ``.mlir`` file, which brings none: seeded normal floats, zeros of any other type."""
        random = np.random.default_rng(self.seed)
        return [random.standard_normal(spec.shape).astype(spec.dtype) if np.dtype(spec.dtype).kind == "f"
                else np.zeros(spec.shape, spec.dtype) for spec in compiled.inputs]


def arrays(inputs: Sequence[Any]) -> list[np.ndarray]:
    """Example inputs (torch tensors or numpy arrays) as contiguous numpy arrays."""
    return [np.asarray(x.detach().numpy() if hasattr(x, "detach") else x, order="C") for x in inputs]


def load_compiled(path: str | Path, **options: Any) -> CompiledModel:
    """The compiled model in the file ``path``, ready to run; ``options``: see ``CompiledModel.load``."""
    from .. import CompiledModel

    return CompiledModel.load(path, **options)


def torch_module(model: Any) -> Any:
    """``model`` as a torch module in evaluation mode; EspalierError where there is none (``.mlir``)."""
    if isinstance(model, (str, Path)):
        raise EspalierError(f"'{model}' is no PyTorch model, so PyTorch cannot run it")
    return model.module() if hasattr(model, "graph_module") else model.eval()
