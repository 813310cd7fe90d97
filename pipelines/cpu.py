"""The backend of CPUs: vector code in the LLVM dialect, and a block of weights beside it."""

from __future__ import annotations

from dataclasses import replace

from ..entry import SIZES
from ..files import user_database
from ..runtime.model_file import fingerprint_of
from ..sparse_dialect.devices.device import Device
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.values import bytecode_of
from ..sparse_dialect.lowering.buffers.externalize_constants import take_weights
from ..sparse_dialect.lowering.loads.eliminate_redundant_loads import EliminateRedundantLoadsPass
from ..sparse_dialect.lowering.reference.lower_to_reference import LowerToReferencePass
from ..sparse_dialect.transforms.look_up_schedules import LookUpSchedulesPass
from ..sparse_dialect.transforms.schedule_layers import ScheduleLayersPass
from .backends import Backend, CompileOptions, Made, Stage
from .named import ARENA, BUFFERS, LLVM, PREPARE, VECTOR
from .pipeline import PassItem
from .records import Records
from .target import Target


class CpuBackend(Backend):
    """Code for x86-64 and AArch64."""

    name = "cpu"
    pipeline = "sparse-to-llvm"
    free_steps = True

    def device(self, target: Target) -> Device:
        return target.device

    def database(self, options: CompileOptions) -> str:
        if options.sparse is not True:
            return ""  # schedules were found for what pays
        return user_database() if options.database is None else options.database

    def stages(self, target: Target, options: CompileOptions) -> tuple[Stage, ...]:
        database = self.database(options)
        tuned = LookUpSchedulesPass(database, target.machine if database else "")
        schedule = ScheduleLayersPass(
            kernel="sparse" if options.sparse == "always" else "auto" if options.sparse else "dense")
        loads = EliminateRedundantLoadsPass(level="filter" if options.eliminate_redundant_loads else "none")
        vector = Stage.of("vector", VECTOR, loads, hook=Records.read_calls)
        if options.kernels is not None:
            reference = PassItem(LowerToReferencePass(beyond=options.kernels))
            vector = replace(vector, items=(reference, *vector.items))
        return (Stage.of("sparse", PREPARE, tuned, schedule, hook=_read_layers), vector,
                Stage.of("buffers", BUFFERS), Stage.of("arena", ARENA, hook=Records.read_statements),
                Stage.of("llvm-dialect", LLVM))

    def make(self, root: ir.Operation, target: Target) -> Made:
        weights = take_weights(root)
        sizes = {name: ir.IntegerAttr(root.attributes[f"espalier.{name}"]).value
                 for name in SIZES if f"espalier.{name}" in root.attributes}
        code = bytecode_of(root)
        return Made(code, weights, fingerprint_of(str(target).encode() + code), sizes)


def _read_layers(records: Records, root: ir.Operation) -> None:
    """Layers, of IR that verifies: the last that the dialect's own verifiers see."""
    root.verify()
    records.read_layers(root)
