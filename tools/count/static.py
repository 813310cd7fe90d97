"""Static figures of every layer's inner loops, its code compiled for each of the reference cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rich import box
from rich.table import Table

from ...runtime.model_file import ModelFile
from ..text import plain
from .emulator import Counts
from .loops import REFERENCE_CORES, Loop, Model, all_cycles, cycles, inner_loops


@dataclass(frozen=True)
class LayerLoops:
    """A layer's innermost loops with multiplies, by reference core."""

    name: str
    loops: dict[str, list[Loop]]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "cores": {
            core: [{"function": loop.function, "instructions": len(loop.body), "fmlas": loop.multiplies,
                    "spills": len(loop.spills), "cycles": _cycles(loop, REFERENCE_CORES[core])}
                   for loop in loops] for core, loops in self.loops.items()}}


def static_loops(compile_for: Callable[[str], tuple[ModelFile, str]]) -> list[LayerLoops]:
    """The loops of every layer that has any; ``compile_for`` gives a model and its assembly for a core."""
    found: dict[str, LayerLoops] = {}
    for core in REFERENCE_CORES:
        file, assembly = compile_for(core)
        loops = inner_loops(assembly)
        for layer in file.manifest["layers"]:
            own = [loop for loop in loops if loop.function in layer["functions"]]
            if own:
                found.setdefault(layer["name"], LayerLoops(layer["name"], {})).loops[core] = own
    return list(found.values())


def static_cycles(counted: Sequence[tuple[str, Counts]], layers: Sequence[Mapping[str, Any]], assembly: str,
                  model: Model) -> Counter[str]:
    """
    About the cycles of a whole inference by label, of code that has these ``counted`` instructions;
    ``layers``: the manifest's.

    The inner loops of a label share its multiplies out among them, each running equally often, and take what
    llvm-mca predicts; all other instructions take a cycle for so many as the core decodes in one. No cache
    misses, no mispredicted branches.
    """
    own: dict[str, list[Loop]] = {}
    labels = {function: layer.get("fused_into") or layer["name"] for layer in layers
              for function in layer["functions"]}
    loops = [loop for loop in inner_loops(assembly) if loop.function in labels]
    for loop in loops:
        own.setdefault(labels[loop.function], []).append(loop)
    takes = dict(zip(map(id, loops), all_cycles(loops, model), strict=True))
    found: dict[str, Counts] = {}
    for label, counts in counted:
        found[label] = found.get(label, Counts()) + counts
    result: Counter[str] = Counter()
    for label, counts in found.items():
        inside = own.get(label, [])
        turns = counts.fmlas / sum(loop.multiplies for loop in inside) if inside else 0.0
        others = counts.instructions - turns * sum(len(loop.body) for loop in inside)
        predicted = turns * sum(takes[id(loop)] for loop in inside) + max(0.0, others) / model.width
        result[label] = round(predicted)
    return result


def static_table(layers: list[LayerLoops]) -> Table:
    """For every layer and core the loops, instructions a multiply, and the share of the FMA pipes' peak."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "core", "LLVM's model"):
        table.add_column(title)
    for title in ("inner loops", "spilling", "per FMLA", "cycles", "of peak"):
        table.add_column(title, justify="right")
    for layer in layers:
        for core, loops in layer.loops.items():
            model = REFERENCE_CORES[core]
            table.add_row(plain(layer.name), core, model.cpu, *_cells(loops, model))
    return table


def _cells(loops: list[Loop], model: Model) -> list[str]:
    """Of all loops together, each run once; cycles of one iteration."""
    instructions, multiplies = sum(len(loop.body) for loop in loops), sum(loop.multiplies for loop in loops)
    total = sum(_cycles(loop, model) for loop in loops)
    spilling = sum(bool(loop.spills) for loop in loops)
    return [str(len(loops)), str(spilling), f"{instructions / multiplies:.2f}", f"{total / len(loops):.1f}",
            f"{multiplies / model.peak / total:.0%}"]


@cache
def _cycles(loop: Loop, model: Model) -> float:
    return cycles(loop, model)
