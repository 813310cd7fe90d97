"""``sparse-assign-layouts``: gives every activation between layers a lane grid.

    %y = "sparse.packed_conv"(%x, ...) {output_layout = #sparse.plain} : ... -> tensor<1x8x56x56xf32>
    -> %y = "sparse.packed_conv"(%x, ...) {output_layout = #sparse.lanes<[4, 4], [56, 56]>}
          : ... -> tensor<1x8x197x16xf32>

Convolutions and pools read any layout and write lanes; elementwise linalg ops on lifted values, and
concatenations of their channels, stay lifted; whatever else reads a lifted value gets it through
``sparse.unlift``. A max pool of up to four places behind a convolution (2x2, 1x2x2) is fused where the grid
allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from ..dialect.layouts import layout_attribute
from ..dialect.ops import LiftOp, PoolOp, UnliftOp
from ..dialect.packed import PackedConvOp, storage_operands
from ..dialect.schedules import device_of, schedule_attribute, schedule_of
from ..errors import op_error
from ..geometry.convolution import Convolution
from ..geometry.layouts import LaneGrid, candidate_grids, three
from ..geometry.window import ONES, Window
from ..ir.mlir import ir
from ..ir.values import integer_array, integers, shape_of
from ..ir.walk import blocks
from ..passes import Pass, PassContext, option
from ..schedule.schedule import Schedule

# a convolution keeps its input's grid up to this many times the lines of the best one
SAME_GRID_MARGIN = 1.05
POOL_MARGIN = 1.02  # likewise for a grid that lets a pool be fused
RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape")
MOST_POOLED = 4  # lines of a fused pool's window: all stay in registers, for every filter of a group


@dataclass(frozen=True)
class AssignLayoutsPass(Pass):
    """
    Chooses a lane grid for every tensor between convolutions and pools (1-D to 3-D), so that few lanes idle
    and few re-layouts are needed.

    Fuses a max pool of up to four places (2x2, 1x2x2) into the convolution before it where its window divides
    the sides of the grid.
    """

    name = "sparse-assign-layouts"

    fuse_pools: bool = option(True, "fuse small max pools into the convolution before them")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context, ir.Location.unknown(op.context):
            device = device_of(op)
            for block in blocks(op):  # lazily: what is inside replaced operations ends with them
                _BlockLifter(self, context, device.grid_lanes, device.costs.fetch_above).run(block)


@dataclass
class _BlockLifter:
    """Rewrites one block from top to bottom; ``lifted`` maps a plain value to its lane-grid twin."""

    options: AssignLayoutsPass
    context: PassContext
    lanes: int
    cached: int  # bytes of an input that stay in L2; 0 where all do
    lifted: dict[ir.Value, tuple[ir.Value, LaneGrid]] = field(default_factory=dict)
    replaced: list[ir.Operation] = field(default_factory=list)

    def run(self, block: ir.Block) -> None:
        for view in list(block.operations):
            with view.operation.location:
                if isinstance(view, PackedConvOp) and _is_image(view.output):
                    self._convolution(view)
                elif isinstance(view, PoolOp) and _is_image(view.output):
                    self._pool(view)
                elif view.operation.name in RESHAPES:
                    self._reshape(view.operation)
                elif view.operation.name == "tensor.concat":
                    self._concatenation(view.operation)
                elif self._stays_lifted(view.operation):
                    self._elementwise(view.operation)
        for op in reversed(self.replaced):  # readers before what they read
            self._close(op)

    # -- layers --------------------------------------------------------------------------------

    def _convolution(self, conv: PackedConvOp) -> None:
        _, filters, *sizes = shape_of(conv.output)
        source = self.lifted.get(conv.input)
        pool = _fusible_pool(conv) if self.options.fuse_pools else None
        window = [1] * len(sizes) if pool is None else integers(pool.kernel)
        schedule = schedule_of(conv)
        grid = self._given(conv, sizes, schedule) or self._grid(sizes, source and source[1], window)
        fused = pool is not None and _divides(window, grid)
        window = window if fused else [1] * len(sizes)
        stored = grid.over([size // part for size, part in zip(sizes, window, strict=True)])
        self.replaced.append(conv.operation)
        replaced = conv.output
        if pool is not None and fused:
            self.replaced.append(pool.operation)
            replaced = pool.output
        if source is None and (_overlaps(conv) or self._is_large(conv)):  # each pixel is moved once, in order
            above = grid.over(shape_of(conv.input)[2:])
            with ir.InsertionPoint(conv.operation):
                source = self._on_grid(conv.input, above), above
        with ir.InsertionPoint(conv.operation):
            residual = None if conv.residual is None else self._on_grid(conv.residual, grid)
            new = PackedConvOp(
                input=source[0] if source else conv.input, **storage_operands(conv.storage),
                packing=conv.packing, storage_names=conv.storage_names,
                weight_shape=conv.weight_shape, strides=conv.strides, padding_low=conv.padding_low,
                padding_high=conv.padding_high, dilations=conv.dilations, groups=conv.groups,
                activation=conv.activation,
                scheme=conv.scheme, pool=integer_array(window), record=conv.record,
                schedule=schedule_attribute(schedule.filled(grid=(grid.lanes_high, grid.lanes_wide))),
                input_layout=layout_attribute(source[1]) if source else conv.input_layout,
                output_layout=layout_attribute(grid), output=self._type(conv.output, filters, stored),
                bias=conv.bias,
                residual=residual)
        self.lifted[replaced] = (new.output, stored)
        self.context.statistics["lifted layers"] += 1
        self.context.statistics["fused pools"] += fused

    def _pool(self, pool: PoolOp) -> None:
        if pool.output in self.lifted:
            return  # fused into the convolution before it
        _, channels, *sizes = shape_of(pool.output)
        source = self.lifted.get(pool.input)
        mean = ir.StringAttr(pool.kind).value == "average"
        padded = any((*integers(pool.padding_low), *integers(pool.padding_high)))
        whole = mean and not padded and integers(pool.kernel) == shape_of(pool.input)[2:]
        if whole and source is None:  # means are taken on lanes
            above = self._grid(shape_of(pool.input)[2:], None)
            with ir.InsertionPoint(pool.operation):
                source = self._on_grid(pool.input, above), above
        schedule = schedule_of(pool)
        grid = self._given(pool, sizes, schedule) or self._grid(sizes, source and source[1])
        schedule = schedule.filled(micro_kernel="pools", grid=(grid.lanes_high, grid.lanes_wide))
        with ir.InsertionPoint(pool.operation):
            new = PoolOp(input=source[0] if source else pool.input, kind=pool.kind, kernel=pool.kernel,
                         strides=pool.strides, padding_low=pool.padding_low, padding_high=pool.padding_high,
                         input_layout=layout_attribute(source[1]) if source else pool.input_layout,
                         output_layout=pool.output_layout if whole else layout_attribute(grid),
                         output=pool.output.type if whole else self._type(pool.output, channels, grid),
                         schedule=schedule_attribute(schedule), record=pool.record)
        self.replaced.append(pool.operation)
        if whole:
            pool.output.replace_all_uses_with(new.output)
        else:
            self.lifted[pool.output] = (new.output, grid)
        self.context.statistics["lifted layers"] += 1

    def _reshape(self, op: ir.Operation) -> None:
        """An image that is called a volume of depth 1, or the like, lies on the same lanes."""
        (source, *_), (result,) = op.operands, op.results
        if source not in self.lifted or not _is_image(result):
            return
        before, after = shape_of(source), shape_of(result)
        if before[:2] == after[:2] and three(before[2:]) == three(after[2:]):
            self.lifted[result] = self.lifted[source]
            self.replaced.append(op)

    def _concatenation(self, op: ir.Operation) -> None:
        """Channels on one grid are joined on it."""
        grids = {self.lifted[part][1] if part in self.lifted else None for part in op.operands}
        grid = grids.pop()
        if ir.IntegerAttr(op.attributes["dim"]).value != 1 or grids or grid is None:
            return
        result = op.results[0]
        with ir.InsertionPoint(op):
            type_ = self._type(result, shape_of(result)[1], grid)
            parts = [self.lifted[part][0] for part in op.operands]
            new = ir.Operation.create("tensor.concat", [type_], parts, {"dim": op.attributes["dim"]})
        self.lifted[result] = (new.result, grid)
        self.replaced.append(op)

    def _stays_lifted(self, op: ir.Operation) -> bool:
        """An elementwise linalg op whose image inputs all lie on one grid; the others are scalars."""
        if op.name != "linalg.generic" or len(op.results) != 1 or not _is_image(op.results[0]):
            return False
        maps, identity, scalar = list(ir.ArrayAttr(op.attributes["indexing_maps"])), *_maps(op.results[0])
        body = [inner.operation.name for inner in op.regions[0].blocks[0].operations]
        if not all(name.startswith(("arith.", "math.", "linalg.yield")) for name in body):
            return False  # reads its own place (linalg.index) or other tensors: lanes would show
        if any(name.startswith(("arith.div", "arith.rem")) and not name.endswith("f") for name in body):
            return False  # lanes without a pixel hold anything, zero divisors too
        if any("parallel" not in str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])):
            return False
        *inputs, out = zip(op.operands, maps, strict=True)
        if out[1] != identity or _owner_name(out[0]) != "tensor.empty":
            return False
        grids = {self.lifted[v][1] if v in self.lifted else None for v, m in inputs if m == identity}
        return len(grids) == 1 and None not in grids and all(m in (identity, scalar) for _, m in inputs)

    def _elementwise(self, op: ir.Operation) -> None:
        grid = next(self.lifted[v][1] for v in op.operands if v in self.lifted)
        type_ = self._type(op.results[0], shape_of(op.results[0])[1], grid)
        self.replaced.append(op)
        with ir.InsertionPoint(op):
            empty = ir.Operation.create("tensor.empty", results=[type_]).result
            *inputs, _ = op.operands
            operands = [*(self.lifted[v][0] if v in self.lifted else v for v in inputs), empty]
            new = op.clone()
        for at, operand in enumerate(operands):
            new.operation.operands[at] = operand
        result = new.operation.results[0]
        result.set_type(type_)
        before, (identity, scalar) = ir.ArrayAttr(op.attributes["indexing_maps"]), _maps(result)
        kept = _maps(op.results[0])[0]
        new.operation.attributes["indexing_maps"] = ir.ArrayAttr.get(
            [identity if m == kept else scalar for m in before])
        kinds = ir.ArrayAttr(op.attributes["iterator_types"])
        new.operation.attributes["iterator_types"] = ir.ArrayAttr.get([kinds[0]] * len(shape_of(result)))
        self.lifted[op.results[0]] = (result, grid)

    # -- values --------------------------------------------------------------------------------

    def _is_large(self, conv: PackedConvOp) -> bool:
        """Whether it is a 1x1 convolution, whose tiles on lanes need no packing, of an input beyond L2: tiles
        would gather their pixels from far apart."""
        size = 4 * prod(shape_of(conv.input))
        return Convolution.of(conv).window == Window(ONES) and 0 < self.cached < size

    def _given(self, layer: PackedConvOp | PoolOp, sizes: list[int], schedule: Schedule) -> LaneGrid | None:
        """The grid that a hand-written schedule asks for."""
        if schedule.grid is None:
            return None
        grid = LaneGrid.of(schedule.grid[0], schedule.grid[1], sizes)
        if grid.lanes != self.lanes:
            raise op_error(layer, f"a schedule with a grid of {self.lanes} lanes, those of the target",
                           f"{list(schedule.grid)}", "correct or leave out grid")
        return grid

    def _grid(self, sizes: list[int], source: LaneGrid | None, window: Sequence[int] = ()) -> LaneGrid:
        """The grid for an image of ``sizes``; for a pool of ``window`` behind it, one that it divides."""
        candidates = candidate_grids(sizes, self.lanes)
        fewest = candidates[0].rows * candidates[0].columns
        if prod(window) > 1:
            for grid in candidates:
                if grid.rows * grid.columns <= POOL_MARGIN * fewest and _divides(window, grid):
                    return grid
        if source:
            same = source.over(sizes)
            if same.rows * same.columns <= SAME_GRID_MARGIN * fewest:
                return same
        return candidates[0]

    def _type(self, plain: ir.Value, channels: int, grid: LaneGrid) -> ir.Type:
        type_ = ir.RankedTensorType(plain.type)
        return ir.RankedTensorType.get([type_.shape[0], channels, grid.lines, grid.lanes], type_.element_type)

    def _on_grid(self, value: ir.Value, grid: LaneGrid) -> ir.Value:
        """``value`` on ``grid``: as it is, or lifted (from row-major if its own grid is another)."""
        if value in self.lifted:
            twin, own = self.lifted[value]
            if own == grid:
                return twin
            value = UnliftOp(input=twin, layout=layout_attribute(own), output=value.type).output
            self.context.statistics["re-layouts"] += 1
        self.context.statistics["re-layouts"] += 1
        return LiftOp(input=value, layout=layout_attribute(grid),
                      output=self._type(value, shape_of(value)[1], grid)).output

    def _close(self, op: ir.Operation) -> None:
        """Removes a replaced op; readers that know nothing of lanes get an unlifted value."""
        plain = op.results[0]
        if list(plain.uses):
            value, grid = self.lifted[plain]
            with value.owner.operation.location, ir.InsertionPoint.after(value.owner.operation):
                unlifted = UnliftOp(input=value, layout=layout_attribute(grid), output=plain.type)
            plain.replace_all_uses_with(unlifted.output)
            self.context.statistics["re-layouts"] += 1
        op.erase()


def _overlaps(conv: PackedConvOp) -> bool:
    """Whether neighbouring windows share pixels."""
    window = Convolution.of(conv).window
    return any(size > stride for size, stride in zip(window.kernel, window.strides, strict=True))


def _fusible_pool(conv: PackedConvOp) -> PoolOp | None:
    """The max pool that is the only reader of ``conv``, if its windows are small, do not overlap and cover
    the image."""
    uses = list(conv.output.uses)
    pool = uses[0].owner if len(uses) == 1 else None
    if not isinstance(pool, PoolOp) or conv.residual is not None or ir.StringAttr(pool.kind).value != "max":
        return None
    window = integers(pool.kernel)
    if window != integers(pool.strides) or prod(window) > MOST_POOLED:
        return None
    padding = integers(pool.padding_low) + integers(pool.padding_high)
    sizes = zip(shape_of(conv.output)[2:], window, strict=True)
    if any(padding) or any(size % part for size, part in sizes):
        return None
    return None if Convolution.of(conv).kind == "depthwise" else pool


def _divides(window: Sequence[int], grid: LaneGrid) -> bool:
    """Whether a pool's windows do not cross the tiles of ``grid``."""
    return not any(lines % part for lines, part in zip(grid.shape, three(window), strict=True))


def _is_image(value: ir.Value) -> bool:
    """[N, C, *image] of f32, the image of one to three dimensions."""
    if not isinstance(value.type, ir.RankedTensorType):
        return False
    type_ = ir.RankedTensorType(value.type)
    return 3 <= type_.rank <= 5 and type_.has_static_shape and isinstance(type_.element_type, ir.F32Type)


def _maps(value: ir.Value) -> tuple[ir.Attribute, ir.Attribute]:
    """The indexing maps of a generic over ``value`` that read its own place, and a scalar."""
    rank = len(shape_of(value))
    return (ir.AffineMapAttr.get(ir.AffineMap.get_identity(rank)),
            ir.AffineMapAttr.get(ir.AffineMap.get(rank, 0, [])))


def _owner_name(value: ir.Value) -> str:
    owner = value.owner
    return "" if isinstance(owner, ir.Block) else owner.operation.name

