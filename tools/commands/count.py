"""``espalier bench MODEL --target aarch64-... --count``: what one inference executes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import EspalierError
from ...files import temporary_folder
from ...pipelines.target import Target
from ...programs import lacking
from ...runtime.devices.qemu import emulator
from ...runtime.model_file import ModelFile
from ..bench.peers import Network
from ..compiled import Progress, Source
from ..count.emulator import plugin
from ..count.ours import count_ours
from ..count.peers import WHEELS, PeerCounts, count_peer
from ..count.static import LayerLoops, static_loops, static_table
from ..count.table import as_json, counts_table, rows
from .common import out, progress_bars, show, write_json


def count_command(source: Source, target: Target, against: str, *, sparse: bool, json: Path | None) -> None:
    """Counts ours and the peers ``against`` (comma-separated), prints one table, writes ``json``."""
    from ...pipelines.codegen.emit import cross_compiled
    from ...runtime.compiled_model import CompiledModel

    names = _peer_names(against)
    variant = "sparse" if sparse else "dense"
    emulator(target.triple, target.cpu)  # what is missing is said before minutes of work
    plugin()
    with progress_bars() as progress:
        code = source.compile_for(target, sparse=sparse, progress=progress)
        file = cross_compiled(code, target, "model")
        compiled = CompiledModel(file)
        progress("counting", 0, 1 + len(names))
        labelled = count_ours(file, file.sample_inputs or source.draw_inputs(compiled))
        peers, left_out = _count_peers(source, names, progress)
        loops, missing = _static_loops(source, target, code, sparse, progress)
    found = rows(labelled, compiled.layers, peers)
    arithmetic = f" computed in {target.arithmetic}" if target.arithmetic != target.precision else ""
    out.print(f"{source.name}{f' --prune {source.prune}' if source.prune else ''}, {variant}, "
              f"{target.precision}{arithmetic}, for {target.triple} {target.cpu}\n"
              f"one inference on one thread, counted by {' '.join(emulator(target.triple, target.cpu))}: "
              f"executed instructions, not times", markup=False)
    show(counts_table(found, peers))
    if loops:
        out.print("the layers' inner loops, compiled for each core, by llvm-mca: no cache misses, not times\n"
                  "(LLVM lets the cortex-a55 start twice the FMLAs of its pipes' peak)", markup=False)
        show(static_table(loops))
    left_out += missing
    for line in left_out:
        out.print(line, markup=False)
    if json is not None:
        write_json(json, {"network": source.name, "prune": source.prune, "variant": variant,
                          "target": file.manifest["target"], "layers": [row.as_json() for row in found],
                          "peers": {peer.name: as_json(peer.total) for peer in peers},
                          "inner_loops": [layer.as_json() for layer in loops], "left_out": left_out})


def _static_loops(source: Source, target: Target, code: ModelFile, sparse: bool,
                  progress: Progress) -> tuple[list[LayerLoops], list[str]]:
    """The inner loops of the model compiled for each reference core, or why there are none; ``code``: the
    model compiled for ``target``."""
    from ...pipelines.codegen.codegen import NativeCode

    if reason := lacking("llvm-mca"):
        return [], [f"inner loops: left out, {reason}"]

    def compile_for(core: str) -> tuple[ModelFile, str]:
        other = replace(target, cpu=core)
        file = code if other == target else source.compile_for(other, sparse=sparse, progress=progress)
        return file, NativeCode(file, other, "model").assembly

    return static_loops(compile_for), []


def _peer_names(against: str) -> list[str]:
    names = [name for name in dict.fromkeys(against.split(",")) if name]
    unknown = [name for name in names if name not in WHEELS]
    if unknown:
        raise EspalierError(f"--count --against knows {', '.join(WHEELS)}; found '{unknown[0]}'")
    return names


def _count_peers(source: Source, names: Sequence[str],
                 progress: Progress) -> tuple[list[PeerCounts], list[str]]:
    """The peers' counts of the unpruned network, and a line for each that was left out, with the reason."""
    peers: list[PeerCounts] = []
    left_out: list[str] = []
    if not names:
        return peers, left_out
    with temporary_folder("espalier-count-") as folder:
        try:
            network = Network(*source.load(pruned=False), folder)
        except EspalierError as error:
            return peers, [f"{name}: left out, {error}" for name in names]
        for done, name in enumerate(names, 1):
            progress("counting", done, 1 + len(names))
            try:
                peers.append(count_peer(name, network))
            except EspalierError as reason:
                left_out.append(f"{name}: left out, {reason}")
    return peers, left_out
