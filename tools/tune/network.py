"""The network that is tuned: its unique layers, and the network compiled with schedules of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import EspalierError
from ...frontends.compile import compile_model, import_any
from ...pipelines.driver import CompileOptions, compile_linalg
from ...pipelines.named import PREPARE
from ...pipelines.parser import parse_pipeline
from ...pipelines.runner import Runner
from ...pipelines.target import Target
from ...runtime.compiled_model import CompiledModel
from ...runtime.model_file import ModelFile
from ...sparse_dialect.dialect.layer_keys import layer_key, tile_key
from ...sparse_dialect.dialect.packed import Packed, PackedConvOp
from ...sparse_dialect.dialect.recurrent import WEIGHTED
from ...sparse_dialect.dialect.schedules import device_of, record_of, set_device, set_schedule
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.ir.walk import operations
from ...sparse_dialect.lowering.cpu.spaces import space_of
from ...sparse_dialect.schedule.candidates import Space
from ...sparse_dialect.schedule.schedule import Schedule
from ..compiled import Progress, Source, arrays

LOOK_UP = PREPARE.index("sparse-look-up-schedules")


@dataclass(frozen=True)
class Unit:
    """Layers of one key, which get one schedule. ``clocks``: by layer the name under which its time is
    measured; ``macs``: stored multiply-adds of all of them."""

    key: str
    clocks: dict[str, str]
    space: Space
    macs: int


@dataclass
class TunedNetwork:
    """A network as it is compiled today (``default``), its module up to where schedules are chosen, and its
    ``units``, those whose layers multiply most first."""

    name: str
    target: Target
    default: CompiledModel
    inputs: list[Any]
    module: ir.Module
    units: list[Unit] = field(default_factory=list)

    @staticmethod
    def of(source: Source, target: Target, progress: Progress) -> TunedNetwork:
        """Compiles ``source`` with today's choices; raises ``EspalierError`` where no layer has any."""
        model, examples = source.load()
        default = compile_model(model, examples, None if not target.triple else target,
                                CompileOptions(database=""), progress)
        module = import_any(model, examples)
        module.context.enable_multithreading(False)  # children of fork have no other threads
        inputs = default.sample_inputs or arrays(examples) or source.draw_inputs(default)
        network = TunedNetwork(source.name, target, default, inputs, module)
        _run(module.operation, PREPARE[:LOOK_UP], target)
        network.units = network._units()
        if not network.units:
            raise EspalierError(f"{source.name}: no layer has a schedule to choose")
        return network

    def compiled(self, schedules: Mapping[str, Schedule]) -> ModelFile:
        """The network with ``schedules``, by layer; it spoils the module, so call it in a child of fork."""
        _put(self.module.operation, schedules)
        return compile_linalg(self.module, CompileOptions(database=""), self.target)

    def keys_with(self, schedules: Mapping[str, Schedule]) -> tuple[dict[str, str], dict[str, str]]:
        """The keys of layers, and of packed convolutions on their grids, with ``schedules``: by layer."""
        layers = {name: layer_key(op) for name, op in _named(self.module.operation, *WEIGHTED)}
        packed = self._packed(schedules)
        tiles = {name: tile_key(op) for name, op in _named(packed, PackedConvOp)}
        return layers, tiles

    def _packed(self, schedules: Mapping[str, Schedule]) -> ir.Operation:
        root = self.module.operation.clone()
        _put(root, schedules)
        _run(root, PREPARE[LOOK_UP:])
        return root

    def _units(self) -> list[Unit]:
        """Layers with a space of more than one schedule, by key."""
        packed = self._packed({})
        core = device_of(packed).costs
        spaces = {name: space for name, op in _named(packed, Packed) if (space := space_of(op, core))}
        records = {layer.name: layer for layer in self.default.layers}
        together: dict[str, list[str]] = {}
        for name, op in _named(self.module.operation, *WEIGHTED):
            if name in spaces and name in records:
                together.setdefault(layer_key(op), []).append(name)
        units = [Unit(key, {name: records[name].fused_into or name for name in names}, spaces[names[0]],
                      sum(records[name].macs_packed for name in names))
                 for key, names in together.items() if spaces[names[0]].size > 1]
        return sorted(units, key=lambda unit: -unit.macs)


def _named(root: ir.Operation, *classes: type) -> list[tuple[str, Any]]:
    """Layers by name, as the report calls them."""
    with root.context:
        return [(record_of(op).layer or f"layer{number}", op)
                for number, op in enumerate(operations(root, *classes))]


def _put(root: ir.Operation, schedules: Mapping[str, Schedule]) -> None:
    with root.context:
        for name, op in _named(root, *WEIGHTED):
            if name in schedules:
                set_schedule(op, schedules[name])


def _run(root: ir.Operation, elements: tuple[str, ...], target: Target | None = None) -> None:
    if target is not None:
        with root.context:
            set_device(root, target.device)
    Runner(parse_pipeline(f"builtin.module({','.join(elements)})"), verify=False).run(root)
