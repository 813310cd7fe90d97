"""``sparse-externalize-constants``: weights and tables leave the IR for one block of memory.

    memref.global constant @w : memref<64xf32> = dense_resource<w>        %0 = memref.get_global @w
    -> module attributes {espalier.weight_data = dense_resource<weights> : tensor<4352xi8>,
                          espalier.weights = 4352 : i64, espalier.digest = "0e5751c0..."}
       func.func @main(..., %weights: memref<?xi8>)                       %0 = memref.view %weights[%c4096][]

Runs after bufferization. ``espalier.weights`` on the module says how many bytes there are; each constant
begins at a multiple of 64 bytes, and equal ones are there once. ``espalier.digest`` is the digest of all.
The same network compiled for another batch shares the block: constants that it has too keep their places,
others are added at the end, so that each code's weights are the first bytes of the last one's.
The block itself rides on the module, for whoever makes a file of code and weights (``take_weights``), or goes
to a file at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ....entry import DIGEST, digest_of
from ....files import replacing
from ...ir.constants import attribute_of, read_attribute
from ...ir.mlir import ir
from ...passes import Pass, PassContext, option
from .arguments import align, append_argument, byte_view, dynamic_memref, public_functions, set_size

SAMPLE = 1 << 12  # bytes by which most arrays are told apart
DATA = "espalier.weight_data"


@dataclass(frozen=True)
class ExternalizeConstantsPass(Pass):
    """
    Replaces every constant memref.global that public functions read by a view of a new argument, the weights.
    """

    name = "sparse-externalize-constants"

    file: str = option("", "the file that the block of weights is written to; none: the module carries it")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        pieces = context.constants
        known, before = len(pieces), total_bytes(pieces)
        externalize(op, pieces)
        context.statistics["constants"] += len(pieces) - known
        context.statistics["bytes"] += total_bytes(pieces) - before
        block = assemble(pieces, context.allocate(total_bytes(pieces)))
        op.attributes[DIGEST] = ir.StringAttr.get(digest_of(block.data), op.context)
        if self.file:
            with replacing(self.file) as stream:
                stream.write(block.data)
        elif pieces:
            with op.context, ir.Location.unknown(op.context):
                op.attributes[DATA] = attribute_of(block, "weights", small=0)


def take_weights(module: ir.Operation) -> np.ndarray:
    """The block that ``module`` carries, u8, which it carries no longer; empty where there is none."""
    if DATA not in module.attributes:
        return np.zeros(0, np.uint8)
    block = read_attribute(module.attributes[DATA]).view(np.uint8)
    del module.attributes[DATA]
    return block


def externalize(module: ir.Operation, pieces: list[tuple[int, np.ndarray]]) -> None:
    """Rewrites ``module``, and adds its constants to ``pieces``, byte offsets and arrays in increasing order;
    those that are there already keep their places."""
    with module.context, ir.Location.unknown(module.context):
        constants = _constant_globals(module)
        placed: dict[str, int] = {}
        known = Contents()
        for offset, array in pieces:
            known.offset(array, offset)
        for function in public_functions(module):
            weights = append_argument(function, dynamic_memref(ir.IntegerType.get_signless(8)))
            for reader in _readers(function):
                name = _global_of(reader)
                if name not in constants:
                    continue
                if name not in placed:
                    array = read_attribute(constants[name].attributes["initial_value"])
                    offset = total_bytes(pieces)
                    placed[name] = known.offset(array, offset)
                    if placed[name] == offset:
                        pieces.append((offset, array))
                with ir.InsertionPoint(reader):
                    view = byte_view(weights, placed[name], reader.results[0].type)
                reader.results[0].replace_all_uses_with(view)
                reader.erase()
        kept = {_global_of(reader) for reader in _readers(module)}
        for name, constant in constants.items():
            if name not in kept:
                constant.erase()
        set_size(module, "espalier.weights", total_bytes(pieces))


class Contents:
    """Where arrays of given bytes lie: layers that share a weight, as the steps of an unrolled loop do, were
    packed alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], list[tuple[np.ndarray, int]]] = {}

    def offset(self, array: np.ndarray, free: int) -> int:
        """The place of an array with the bytes of ``array``; ``free``, its place from now on, for a new
        one."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        same = self._known.setdefault((data.nbytes, zlib.crc32(data[:SAMPLE].tobytes())), [])
        for other, place in same:
            if data.nbytes and np.array_equal(data, other):
                return place
        same.append((data, free))
        return free


def _constant_globals(module: ir.Operation) -> dict[str, ir.Operation]:
    """The memref.global constants of ``module`` by name."""
    found = {}
    for view in module.regions[0].blocks[0].operations:
        op = view.operation
        if op.name == "memref.global" and "constant" in op.attributes and "initial_value" in op.attributes:
            found[ir.StringAttr(op.attributes["sym_name"]).value] = op
    return found


def _global_of(reader: ir.Operation) -> str:
    """The name that a memref.get_global reads."""
    return ir.FlatSymbolRefAttr(reader.attributes["name"]).value


def _readers(function: ir.Operation) -> list[ir.Operation]:
    """Every memref.get_global inside ``function``, or a module."""
    found: list[ir.Operation] = []
    for region in function.operation.regions:
        for block in region.blocks:
            for view in block.operations:
                if view.operation.name == "memref.get_global":
                    found.append(view.operation)
                found += _readers(view)
    return found


def total_bytes(pieces: list[tuple[int, np.ndarray]]) -> int:
    """Bytes of the whole block."""
    return align(pieces[-1][0] + pieces[-1][1].nbytes) if pieces else 0


def assemble(pieces: list[tuple[int, np.ndarray]], block: np.ndarray) -> np.ndarray:
    """Writes ``pieces`` into ``block`` (u8, zeroed, of ``total_bytes``) and returns it."""
    for offset, array in pieces:
        block[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block
