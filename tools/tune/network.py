"""The network that is tuned: its unique layers, and the network compiled with schedules of theirs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ...errors import EspalierError
from ...frontends.compile import compile_file, compile_model, import_any
from ...pipelines.codegen.emit import cross_compiled
from ...pipelines.driver import CompileOptions, compile_linalg
from ...pipelines.named import PREPARE
from ...pipelines.parser import parse_pipeline
from ...pipelines.runner import Runner
from ...pipelines.target import Target
from ...runtime.compiled_model import CompiledModel
from ...runtime.model_file import ModelFile
from ...sparse_dialect.dialect.layer_keys import layer_key, tile_key
from ...sparse_dialect.dialect.layouts import layout_of
from ...sparse_dialect.dialect.network import network_device
from ...sparse_dialect.dialect.ops import PoolOp
from ...sparse_dialect.dialect.packed import Packed, PackedConvOp
from ...sparse_dialect.dialect.recurrent import WEIGHTED
from ...sparse_dialect.dialect.schedules import device_of, record_of, set_device, set_schedule
from ...sparse_dialect.geometry.convolution import Convolution
from ...sparse_dialect.geometry.layouts import LaneGrid, Three, candidate_grids
from ...sparse_dialect.ir.mlir import ir
from ...sparse_dialect.ir.walk import operations
from ...sparse_dialect.lowering.cpu.families import space_of
from ...sparse_dialect.schedule.candidates import Genome, Space
from ...sparse_dialect.schedule.possible import other_storage
from ...sparse_dialect.schedule.schedule import Schedule
from ...sparse_dialect.transforms.schedule_layers import layer_of
from ..compiled import Progress, Source, arrays
from .features import Features, Layer
from .grids import Classes, Grid

GRID_MARGIN, MOST_GRIDS = 1.15, 3  # lines of a grid, in those of the best; grids beside the default's
LANEWISE = ("linalg.generic", "tensor.concat")
LOOK_UP = PREPARE.index("sparse-look-up-schedules")


@dataclass(frozen=True)
class Unit:
    """Layers of one key, which get one schedule. ``clocks``: by layer the names under which its time is
    measured, two where it may be fused into its reader; ``layer``: the first of them; ``macs``: stored
    multiply-adds of all of them."""

    key: str
    clocks: dict[str, tuple[str, ...]]
    space: Space
    layer: Layer
    macs: int

    def features(self, genome: Genome) -> Features:
        """What a cost model is told of the schedule ``genome``."""
        return self.layer.features(self.space.schedule(genome))


@dataclass
class TunedNetwork:
    """A network as it is compiled today (``default``), its module up to where schedules are chosen, and its
    ``units``, those whose layers multiply most first. ``compile_s``: seconds that compiling it took, once it
    was imported. ``file``: the default, where it is for another machine. ``grids``: by layer, those that
    ``units`` are for, where they are not the default's."""

    name: str
    target: Target
    default: CompiledModel
    inputs: list[Any]
    module: ir.Module
    units: list[Unit] = field(default_factory=list)
    compile_s: float = 0.0
    file: ModelFile | None = None
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(source: Source, target: Target, progress: Progress) -> TunedNetwork:
        """Compiles ``source`` with today's choices; raises ``EspalierError`` where no layer has any."""
        model, examples = source.load()
        clock = _Clock(progress)
        options, file = CompileOptions(database=""), None
        if target.triple:
            file = cross_compiled(compile_file(model, examples, target, options, clock), target, "model")
        default = CompiledModel(file) if file else compile_model(model, examples, None, options, clock)
        compile_s = clock.seconds
        module = import_any(model, examples)
        module.context.enable_multithreading(False)  # children of fork have no other threads
        inputs = default.sample_inputs or arrays(examples) or source.draw_inputs(default)
        network = TunedNetwork(source.name, target, default, inputs, module, [], compile_s, file)
        _run(module.operation, PREPARE[:LOOK_UP], target)
        network.units = network._units()
        if not network.units:
            raise EspalierError(f"{source.name}: no layer has a schedule to choose")
        return network

    def compiled(self, schedules: Mapping[str, Schedule]) -> ModelFile:
        """The network with ``schedules``, by layer; it spoils the module, so call it in a child of fork."""
        _put(self.module.operation, schedules)
        return compile_linalg(self.module, CompileOptions(database=""), self.target)

    def take_grids(self, grids: Mapping[str, tuple[int, int]]) -> None:
        """Has ``units`` be of layers on ``grids``, by layer."""
        self.grids = dict(grids)
        self.units = self._units()

    def complete(self, schedules: Mapping[str, Schedule]) -> dict[str, Schedule]:
        """``schedules`` with the grids that all layers are to have."""
        return {name: schedules.get(name, Schedule()).filled(grid=self.grids.get(name))
                for name in {**schedules, **self.grids}}

    def classes(self) -> Classes:
        """The images that convolutions write, by size, and the grids that they may lie on."""
        packed = self._packed({})
        lanes = device_of(packed).grid_lanes
        with packed.context:
            grids = {name: (op, grid) for name, op in _named(packed, PackedConvOp)
                     if isinstance(grid := layout_of(op.output_layout, op.output), LaneGrid)}
            sizes = {name: Convolution.of(op).target for name, (op, _) in grids.items()}
            known = sorted({size for size in sizes.values() if prod(size) > lanes}, reverse=True)
            number = {size: at for at, size in enumerate(known)}
            factors, used = dict[str, tuple[int, ...]](), dict[Three, set[Grid]]()
            for name, (op, grid) in grids.items():
                above = [Convolution.of(conv).target for conv in _writers(op.input)]
                scope = dict.fromkeys(number[size] for size in (sizes[name], *above) if size in number)
                if scope:
                    factors[name] = tuple(scope)
                used.setdefault(sizes[name], set()).add((grid.lanes_high, grid.lanes_wide))
        layers = tuple(tuple(name for name in sizes if sizes[name] == size) for size in known)
        return Classes(tuple(_grids(size, lanes, used[size]) for size in known), factors, layers)

    def keys_with(self, schedules: Mapping[str, Schedule]) -> tuple[dict[str, str], dict[str, str]]:
        """The keys of layers, and of packed convolutions on their grids, with ``schedules``: by layer."""
        layers = {name: layer_key(op) for name, op in _named(self.module.operation, *WEIGHTED)}
        packed = self._packed(schedules)
        tiles = {name: tile_key(op) for name, op in _named(packed, PackedConvOp)}
        return layers, tiles

    def _packed(self, schedules: Mapping[str, Schedule]) -> ir.Operation:
        root = self.module.operation.clone()
        _put(root, self.complete(schedules))
        _run(root, PREPARE[LOOK_UP:])
        return root

    def _units(self) -> list[Unit]:
        """Layers with a space of more than one schedule, by key: of those that run dense or sparse, both."""
        named = _named(self.module.operation, *WEIGHTED)
        with self.module.context:
            device = network_device(self.module.operation)
            others = {name: storage for name, op in named if (storage := other_storage(layer_of(op), device))}
        own = self._spaces({})
        other = self._spaces({name: Schedule(storage=storage) for name, storage in others.items()})
        records = {layer.name: layer for layer in self.default.layers}
        together: dict[str, list[str]] = {}
        for name, op in named:
            if name in own and name in records:
                together.setdefault(layer_key(op), []).append(name)
        units = []
        for key, names in together.items():
            (space, layer), parts = own[names[0]], dict[str | None, Space]()
            parts[None] = space
            if names[0] in others:
                parts[others[names[0]]] = other[names[0]][0]
            space = Space.either("storage", parts)
            clocks = {name: tuple(filter(None, (records[name].fused_into, name))) for name in names}
            if space.size > 1:
                macs = sum(records[name].macs_packed for name in names)
                units.append(Unit(key, clocks, space, layer, macs))
        return sorted(units, key=lambda unit: -unit.macs)

    def _spaces(self, schedules: Mapping[str, Schedule]) -> dict[str, tuple[Space, Layer]]:
        """By layer what may be changed in a network with ``schedules``, and what is known of it."""
        packed = self._packed(schedules)
        core = device_of(packed).costs
        with packed.context:
            return {name: (space, Layer.of(op, core)) for name, op in _named(packed, Packed)
                    if (space := space_of(op, core))}


class _Clock:
    """Hands progress on, and measures from the first step behind the import."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._begin = progress, 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != "import" and not self._begin:
            self._begin = time.monotonic()
        self._progress(step, done, total)

    @property
    def seconds(self) -> float:
        """Since that step."""
        return time.monotonic() - self._begin


def _named(root: ir.Operation, *classes: type) -> list[tuple[str, Any]]:
    """Layers by name, as the report calls them."""
    with root.context:
        return [(record_of(op).layer or f"layer{number}", op)
                for number, op in enumerate(operations(root, *classes))]


def _writers(value: ir.Value) -> list[PackedConvOp]:
    """The convolutions whose images ``value`` is made of, by what keeps them on their lanes and by pools."""
    owner = value.owner
    if not isinstance(owner, ir.OpView | ir.Operation):
        return []  # an argument
    view = owner.operation.opview
    if isinstance(view, PackedConvOp):
        return [view]
    operands = [view.input] if isinstance(view, PoolOp) else (
        list(view.operands) if view.operation.name in LANEWISE else [])
    return [conv for operand in operands for conv in _writers(operand)]


def _grids(size: Three, lanes: int, used: set[Grid]) -> tuple[Grid, ...]:
    """The default, and others of about as few lines; the only one in use today is no other."""
    candidates = candidate_grids(size, lanes)
    most = GRID_MARGIN * candidates[0].rows * candidates[0].columns
    others = [(grid.lanes_high, grid.lanes_wide) for grid in candidates if grid.rows * grid.columns <= most]
    return (None, *[grid for grid in others if used != {grid}][:MOST_GRIDS])


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
