"""What the report shows of a GPU's kernels, read off launches and kernels (``LayerRecord.gpu``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from ..runtime.records import LayerRecord
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.values import text_of
from ..sparse_dialect.lowering.gpu.lower_to_spirv import kernel_of
from ..sparse_dialect.lowering.loads.kernel_loads import Reads, reads_in

_LAUNCH_SIZES = slice(0, 6)  # workgroups and threads of gpu.launch_func's operands


def launches_of(root: ir.Operation) -> list[ir.Operation]:
    """The launches of a module, in order."""
    functions = (view for view in root.regions[0].blocks[0].operations if view.operation.name == "func.func")
    return [
        view.operation
        for function in functions
        for view in function.regions[0].blocks[0].operations
        if view.operation.name == "gpu.launch_func"
    ]


def with_gpu_facts(root: ir.Operation, layers: Sequence[LayerRecord]) -> list[LayerRecord]:
    """``layers`` with what their launches say; several launches of one layer add up."""
    kernels = _kernels(root)
    found: dict[str, list[ir.Operation]] = {}
    for launch in launches_of(root):
        if "espalier.facts" in launch.attributes:
            found.setdefault(text_of(launch.attributes, "espalier.layer"), []).append(launch)
    result = []
    for layer in layers:
        launches = found.get(layer.name, [])
        if launches:
            reads = _total(launches, kernels)
            layer = replace(layer, gpu=_facts(launches, reads), loads_before=reads.elements_before,
                            loads_after=reads.elements_after)
        result.append(layer)
    return result


def _kernels(root: ir.Operation) -> dict[str, list[Reads]]:
    """What each kernel's loops read, by the name of its module."""
    found = {}
    for view in root.regions[0].blocks[0].operations:
        if view.operation.name == "gpu.module":
            functions = view.operation.regions[0].blocks[0].operations
            found[text_of(view.operation.attributes, "sym_name")] = [
                reads for own in functions if own.operation.name == "gpu.func"
                for reads in reads_in(own.operation)]
    return found


def _total(launches: Sequence[ir.Operation], kernels: dict[str, list[Reads]]) -> Reads:
    """What all turns of all loops read."""
    total = Reads()
    for launch in launches:
        visits = list(ir.DenseI64ArrayAttr(ir.DictAttr(launch.attributes["espalier.facts"])["visits"]))
        for count, reads in zip(visits, kernels[kernel_of(launch)], strict=False):
            for name, value in vars(reads).items():
                setattr(total, name, getattr(total, name) + count * value)
    return total


def _facts(launches: Sequence[ir.Operation], reads: Reads) -> dict[str, Any]:
    """``GPU_FACTS`` of a layer."""
    facts = [ir.DictAttr(launch.attributes["espalier.facts"]) for launch in launches]
    first = facts[0]
    tile = list(ir.DenseI64ArrayAttr(first["tile"]))
    filters = ir.IntegerAttr(first["filters"]).value
    sizes = [_sizes(launch) for launch in launches]
    threads = sum(prod(own) for own in sizes)
    products = sum(ir.IntegerAttr(own["multiply_adds"]).value for own in facts)
    known: dict[str, Any] = {
        "mapping": ir.StringAttr(first["mapping"]).value,
        "tile": tile,
        "filters": filters,
        "accumulators": prod(tile) * filters,
        "workgroups": sum(prod(own[:3]) for own in sizes),
        "threads": sizes[0][3],
        "multiply_adds_a_thread": round(products / threads),
        "bytes": ir.IntegerAttr(first["bytes"]).value * (1 if reads.multiply_adds else len(facts)),
    }
    if reads.multiply_adds:
        known["elements_a_multiply_add"] = round(reads.elements_after / reads.multiply_adds, 4)
        known["elements_before"] = round(reads.elements_before / reads.multiply_adds, 4)
        known["loads_a_multiply_add"] = round(reads.loads_after / reads.multiply_adds, 4)
    return known


def _sizes(launch: ir.Operation) -> list[int]:
    """Workgroups and threads, x, y and z."""
    return [ir.IntegerAttr(value.owner.operation.attributes["value"]).value
            for value in list(launch.operands)[_LAUNCH_SIZES]]
