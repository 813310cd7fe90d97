"""The compiler driver: linalg on tensors to a compiled model's code, weights and manifest.

Runs the stages of the target's backend one after another; hooks between them read off what the report shows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import unknown
from ..runtime.memory import zeroed
from ..runtime.model_file import ModelFile
from ..sparse_dialect.dialect.recurrent import GruOp, LstmOp
from ..sparse_dialect.dialect.schedules import set_device
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.walk import operations
from .backends import Backend, CompileOptions, Stage, backend_for
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
                   progress: Progress | None = None, watch: Watch | None = None,
                   constants: list[tuple[int, np.ndarray]] | None = None) -> ModelFile:
    """
    Compiles ``module`` (linalg on tensors with static shapes, one public function) in place. Of a module
    with recurrent layers one size may be free, the number of time steps: ``?`` wherever it stands.

    ``constants``: of the same model for other sizes, whose weights the new one begins with; its own join
    them. Returns the model without recorded samples. Raises ``EspalierError`` for what cannot be compiled.
    """
    backend, root = backend_for(target), module.operation
    constants = [] if constants is None else constants
    known = len(constants)
    spare = root.clone() if backend.database(options) else None
    try:
        records = _lower(root, backend, backend.stages(target, options), target, progress, watch or Watch(),
                         constants=constants)
    except Exception as error:  # whatever a schedule from outside does to a pass
        if spare is None:
            raise
        del constants[known:]
        root = spare  # with what the tuner found or without: the error may be the model's
        records = _lower(root, backend, backend.stages(target, replace(options, database="")), target,
                         progress, watch or Watch(), constants=constants)
        warnings.warn(f"the tuner's schedules in '{backend.database(options)}' do not compile, the default's "
                      f"stand: {error}", stacklevel=2)
    made = backend.make(root, target)
    return ModelFile(records.manifest(made.sizes), made.code, made.weights, made.fingerprint)


def lower_linalg(module: ir.Module, options: CompileOptions, target: Target, last: str,
                 progress: Progress | None = None, watch: Watch | None = None) -> None:
    """Takes ``module``, as above, through the stages up to the one called ``last`` (``BEFORE``: none), for
    the listeners of ``watch``; the pipeline that they hear goes on to the end."""
    backend = backend_for(target)
    stages = backend.stages(target, options)
    names = [BEFORE, *(stage.name for stage in stages)]
    if last not in names:
        raise unknown(f"stage of the {backend.name} backend", last, names)
    _lower(module.operation, backend, stages, target, progress, watch or Watch(), names.index(last))


def _lower(root: ir.Operation, backend: Backend, stages: Sequence[Stage], target: Target,
           progress: Progress | None, watch: Watch, count: int | None = None,
           constants: list[tuple[int, np.ndarray]] | None = None) -> Records:
    """Runs the first ``count`` of ``stages`` (none: all) as one pipeline; what the report shows."""
    free = backend.free_steps and bool(operations(root, GruOp, LstmOp))
    records = Records(target, *interface_of(root, free))
    device = backend.device(target)
    if device is not None:
        with root.context:
            set_device(root, device)
    items = tuple(item for stage in stages for item in stage.items)

    def tell(name: str, done: int, found: ir.Operation) -> None:
        for listener in watch.listeners:
            listener(name, found, Nest(ROOT, items[done:]))

    def stop(stage: Stage, done: int) -> Callable[[ir.Operation], None]:
        def at(found: ir.Operation) -> None:
            if stage.hook is not None:
                stage.hook(records, found)
            tell(stage.name, done, found)

        return at

    done = 0
    stops: dict[int, Callable[[ir.Operation], None]] = {}
    for stage in stages[:count]:
        done += len(stage.items)
        stops[done] = stop(stage, done)
    tell(BEFORE, 0, root)
    Runner(Nest(ROOT, items[:done]), watch.instruments, verify=False, progress=progress, stops=stops,
           allocate=zeroed, constants=[] if constants is None else constants).run(root)
    return records
