"""Emits the packing of a tile's input region into scratch: plain copies, or gathers where lanes come from
several lines.

Packed, a tile's input is contiguous: no cache-set conflicts between rows, few pages, and activations need
no halos. Where inputs are asked for ahead, only tiles at borders are packed, their lines as far apart as
stored ones: the same code then reads the others where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....geometry.layouts import Layout
from ....ir.mlir import ir
from ..plan.conv_plan import ConvPlan
from .builder import Builder, Value, arith, memref, vector

NEAR_BYTES = 24 << 10  # of what is packed at a time: as much is read, and both stay in L1

Item = dict[str, Value]  # the fields of a work item (conv_plan.ITEM_FIELDS), loaded


class Packer:
    """Packs ``channels`` channels of a region, ``pitch`` lines each; the start of ``scratch`` (memref<?xi8>)
    holds them. ``in_place``: plain boxes of stored lines stay where they lie."""

    def __init__(self, b: Builder, plan: ConvPlan, layout: Layout, source: Value, borders: Value,
                 gathers: Value, permuted: Value, scratch: Value, channels: int, pitch: int,
                 in_place: bool) -> None:
        self.b, self.plan, self.layout, self.channels = b, plan, layout, channels
        self._source, self.borders, self.gathers, self.permuted = source, borders, gathers, permuted
        self.in_place, self.shape = in_place, [channels, pitch, b.lanes]
        if not plan.direct:
            self.scratch = self.region = b.view(scratch, 0, self.shape)

    def pack(self, item: Item, first_channel: Value) -> None:
        """The region of ``item``, from channel ``first_channel`` on, for ``packed`` to read."""
        if self.in_place:
            self._pack_or_find(item, first_channel)
        elif not self.plan.border_tiles:
            self._pack_interior(item, first_channel)
        elif not self.plan.interior_tiles:
            self._pack_border(item, first_channel)
        else:
            plain = self.b.compare("slt", item["border"], self.b.index(0))
            self.b.either(plain, lambda: self._pack_interior(item, first_channel),
                          lambda: self._pack_border(item, first_channel))

    def fetch(self, item: Item, channel: Value) -> None:
        """Asks that a channel of the region of ``item``, where it is a box of lines, be brought to L2."""
        for offset in self.b.one_a_cache_line(self._source, self.plan.source_offsets):
            at = self.b.add(item["source_line"], offset)
            self.b.prefetch(self._source, item["image"], channel, at, self.b.index(0), level=2)

    def packed(self, channel: Value, line: int) -> Value:
        """A packed line; ``channel`` counts from the first packed one."""
        place = self.plan.source_offsets[line] if self.in_place else line
        return self.b.load(self.region, channel, self.b.index(place), self.b.index(0))

    def source(self, item: Item, channel: Value, line: Value) -> Value:
        """A stored line of the input."""
        return self.b.load(self._source, item["image"], channel, line, self.b.index(0))

    def _pack_or_find(self, item: Item, first_channel: Value) -> None:
        """Packs the region at a border; elsewhere it is the box of stored lines."""
        b, type_ = self.b, self._box_type(ir.ShapedType.get_dynamic_stride_or_offset())

        def stored() -> list[Value]:
            return [memref.CastOp(type_, self._box(item, first_channel)).result]

        def packed() -> list[Value]:
            self._pack_border(item, first_channel)
            return [memref.CastOp(type_, self.scratch).result]

        plain = b.compare("slt", item["border"], b.index(0))
        self.region, = b.choose(plain, stored, packed, [type_])

    def _box(self, item: Item, first_channel: Value) -> Value:
        """The stored lines of ``item``, from its first on."""
        *_, lines, lanes = ir.MemRefType(self._source.type).shape
        free = ir.ShapedType.get_dynamic_size()
        return memref.SubViewOp(self._box_type(lines * lanes), self._source,
                                [item["image"], first_channel, item["source_line"]], [], [],
                                [free, free, free, 0], [1, *self.shape], [1] * 4).result

    def _box_type(self, stride: int) -> ir.Type:
        """``shape`` with channels so many elements apart, anywhere in memory."""
        free = ir.ShapedType.get_dynamic_stride_or_offset()
        layout = ir.StridedLayoutAttr.get(free, [stride, self.b.lanes, 1])
        return ir.MemRefType.get(self.shape, self.b.element, layout=layout)

    def _pack_interior(self, item: Item, first_channel: Value) -> None:
        b = self.b

        def channel(c: Value) -> None:
            self._copy(c, b.index(0), item, b.add(first_channel, c), item["source_line"],
                       self.plan.source_offsets)

        b.loop(0, self.channels, channel)

    def _pack_border(self, item: Item, first_channel: Value) -> None:
        """Lines outside, some channels inside: what a line needs is decided once for all of these, and what
        several lines read of them stays in L1."""
        b, together = self.b, self._together()

        def some(first: Value) -> None:
            self._pack_lines(item, first_channel, first, b.add(first, together))

        if together == self.channels:
            some(b.index(0))
        else:
            b.loop(0, self.channels, some, step=together)

    def _together(self) -> int:
        """How many channels, a divisor of all, are packed at a time: where most lines are gathered, a stored
        line is read for several of them."""
        region = len(self.plan.region) * self.b.line_bytes(self._source)
        gathered = (self.plan.borders[:, :, 0] < 0).mean() > 0.5
        most = max(1, NEAR_BYTES // region) if gathered else self.channels
        return max(count for count in range(1, min(most, self.channels) + 1) if self.channels % count == 0)

    def _pack_lines(self, item: Item, first_channel: Value, first: Value, last: Value) -> None:
        """All lines of packed channels ``first`` to ``last``."""
        b = self.b
        offsets = b.index(ir.MemRefType(self.borders.type).shape[0] - 1)

        def line(at: Value) -> None:
            code, length = (b.integer(self.borders, item["border"], at, b.index(i)) for i in range(2))
            place = b.integer(self.borders, offsets, at, b.index(0)) if self.in_place else at
            for known in self.plan.run_lengths:

                def run(c: Value, known: int = known) -> None:
                    self._copy(c, place, item, b.add(first_channel, c), code, range(known))

                with b.when(b.compare("eq", length, b.index(known))):
                    b.loop(first, last, run)
            with b.when(b.compare("slt", code, b.index(0))):
                self._halo(item, first_channel, (first, last), place, arith.SubIOp(b.index(-1), code).result)

        b.loop(0, len(self.plan.region), line)

    def _copy(self, c: Value, to: Value, item: Item, channel: Value, first: Value,
              offsets: Sequence[int]) -> None:
        """Stored lines ``first`` + ``offsets`` of a channel to lines ``to`` and on of packed channel ``c``:
        two are loaded before they are stored, so that neighbours make pairs (LDP, STP)."""
        b = self.b
        for at in range(0, len(offsets), 2):
            values = [self.source(item, channel, b.add(first, offset)) for offset in offsets[at : at + 2]]
            for line, value in enumerate(values, at):
                self._put(c, b.add(to, line), value)

    def _halo(self, item: Item, first_channel: Value, channels: tuple[Value, Value], at: Value,
              row: Value) -> None:
        """Line ``at`` from row ``row`` of the gather table; a shuffle where one stored line holds it all."""
        b, zero = self.b, self.b.index(0)

        def gather() -> None:
            places = b.places(self.gathers, row, zero)
            b.loop(*channels, lambda c: self._put(
                c, at, b.gather(self._source, [item["image"], b.add(first_channel, c)], places, 0.0)))

        if not self.plan.shuffles:
            return gather()
        number, line = (b.integer(self.permuted, row, b.index(i)) for i in range(2))
        for known, permutation in enumerate(self.plan.shuffles):
            mask = [lane if lane >= 0 else b.lanes for lane in permutation]  # lanes on: the second operand

            def shuffled(c: Value, mask: list[int] = mask) -> None:
                stored = self.source(item, b.add(first_channel, c), line)
                self._put(c, at, vector.ShuffleOp(stored, b.splat(0.0), mask).result)

            with b.when(b.compare("eq", number, b.index(known))):
                b.loop(*channels, shuffled)
        if (self.plan.permuted[:, 0] < 0).any():
            with b.when(b.compare("slt", number, zero)):
                gather()
        return None

    def _put(self, channel: Value, line: Value, value: Value) -> None:
        self.b.store(value, self.scratch, channel, line, self.b.index(0))
