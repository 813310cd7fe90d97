"""The compiler driver: linalg on tensors to a compiled model's code, weights and manifest.

Runs the stages of the target's backend one after another; hooks between them read off what the report shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..runtime.memory import zeroed
from ..runtime.model_file import ModelFile
from ..sparse_dialect.dialect.recurrent import GruOp, LstmOp
from ..sparse_dialect.dialect.schedules import set_device
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.walk import operations
from .backends import CompileOptions, Stage, backend_for
from .instrument import Instrument
from .interface import interface_of
from .pipeline import ROOT, Nest
from .records import Records
from .runner import Progress, Runner
from .target import Target

Listener = Callable[[str, ir.Operation, Nest], None]  # a stage's name, what it left, what follows
BEFORE = "linalg"  # what listeners hear before the first stage


@dataclass(frozen=True)
class Watch:
    """Who looks at a compilation: instruments at every pass, listeners before the first stage and after each
    one."""

    instruments: Sequence[Instrument] = ()
    listeners: Sequence[Listener] = ()


def compile_linalg(module: ir.Module, options: CompileOptions, target: Target,
                   progress: Progress | None = None, watch: Watch | None = None) -> ModelFile:
    """
    Compiles ``module`` (linalg on tensors with static shapes, one public function) in place. Of a module
    with recurrent layers one size may be free, the number of time steps: ``?`` wherever it stands.

    Returns the model without recorded samples. Raises ``EspalierError`` for what cannot be compiled.
    """
    root = module.operation
    backend = backend_for(target)
    stages = backend.stages(target, options)
    free = backend.free_steps and bool(operations(root, GruOp, LstmOp))
    records = Records(target, *interface_of(root, free))
    device = backend.device(target)
    if device is not None:
        with root.context:
            set_device(root, device)
    _run(root, stages, records, progress, watch or Watch())
    made = backend.make(root, target)
    return ModelFile(records.manifest(made.sizes), made.code, made.weights, made.fingerprint)


def _run(root: ir.Operation, stages: Sequence[Stage], records: Records, progress: Progress | None,
         watch: Watch) -> None:
    """Runs ``stages`` as one pipeline."""
    pipeline = Nest(ROOT, tuple(item for stage in stages for item in stage.items))
    stops: dict[int, Callable[[ir.Operation], None]] = {}

    def tell(name: str, done: int, found: ir.Operation) -> None:
        for listener in watch.listeners:
            listener(name, found, Nest(ROOT, pipeline.items[done:]))

    def stop(stage: Stage, done: int) -> Callable[[ir.Operation], None]:
        def at(found: ir.Operation) -> None:
            if stage.hook is not None:
                stage.hook(records, found)
            tell(stage.name, done, found)

        return at

    done = 0
    tell(BEFORE, done, root)
    for stage in stages:
        done += len(stage.items)
        stops[done] = stop(stage, done)
    Runner(pipeline, watch.instruments, verify=False, progress=progress, stops=stops,
           allocate=zeroed).run(root)
