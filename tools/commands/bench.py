"""``espalier bench MODEL``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from ...errors import EspalierError, unknown
from ...files import check_apart, check_writable, temporary_folder
from ...pipelines.target import VULKAN, Target
from ...runtime.devices.vulkan import device_number
from ...runtime.executors.team import cores
from ..bench.busy import busy
from ..bench.engines import EspalierEngine, TorchEngine
from ..bench.layers import LayerTime, measure_layers
from ..bench.machine import Machine, circumstances
from ..bench.measure import Engine, Record, load_average, measure, percentile, relative_error
from ..bench.peers import PEERS, Network, Unavailable, load_peer
from ..bench.show import doubt_lines, layers_table, records_table, scaling_lines
from ..bench.trace import chrome_trace
from ..bench.vulkan import BenchOptions, bench_gpu, gpu_layers_table, gpu_times_table
from ..compiled import Progress, Source
from ..cpus import pin
from ..predictions import prediction_line
from .common import (
    CpusOption,
    DebugOption,
    ExcludeOption,
    GpuProfileOption,
    ModelArgument,
    OneBatchOption,
    OnlyOption,
    PrecisionOption,
    PruneOption,
    SeedOption,
    ShapeOption,
    StepsOption,
    TargetOption,
    TrustOption,
    WeightsOption,
    progress_bars,
    say,
    shapes_of,
    show,
    thread_counts,
    write_json,
)
from .compile import AccumulateOption, CpuOption, FeaturesOption
from .count import count_command

DeviceOption = Annotated[str, typer.Option(
    metavar="vulkan[:N]", help="The GPU to measure on, with --target vulkan.")]
WAKE_UPS = 20
SAME = 1e-4  # our outputs may differ from PyTorch's by this share of the largest output


@dataclass
class Field:
    """Who takes part: engines in the order of the table, and those left out with the reason."""

    ours: list[EspalierEngine] = field(default_factory=list)
    torch: TorchEngine | None = None
    peers: list[Engine] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def engines(self) -> list[Engine]:
        return [*self.ours, *([self.torch] if self.torch else []), *self.peers]


def bench_command(
    model: ModelArgument, prune: PruneOption = None, only: OnlyOption = "",
    exclude: ExcludeOption = "", seed: SeedOption = 0, steps: StepsOption = None,
    shape: ShapeOption = None, weights: WeightsOption = "", batch: OneBatchOption = None,
    dense: Annotated[bool, typer.Option("--dense", help="Leave out our sparse variant.")] = False,
    against: Annotated[str, typer.Option(
        metavar="PEERS", help=f"Dense engines to compare with: torch,{','.join(PEERS)} "
        "(with --count: ncnn,mnn,litert)")] = "",
    threads: Annotated[str | None, typer.Option(
        metavar="N,N", help="Thread counts (default: 1 and every core).")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed rounds first.")] = 3,
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds; each runs every engine once.")] = 15,
    every: Annotated[float, typer.Option(
        min=0, max=1e9, metavar="MS", help="Pause before each run, as between a camera's frames.")] = 0.0,
    competing: Annotated[int, typer.Option(
        "--busy", min=0, metavar="N", help="Have N processes compete for the cores meanwhile.")] = 0,
    cpus: CpusOption = "",
    layers: Annotated[bool, typer.Option("--layers", help="Time every layer, ours and PyTorch's.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the records as JSON.")] = None,
    trace: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Also write one profiled run as a Chrome trace.")] = None,
    counted: Annotated[bool, typer.Option(
        "--count", help="Do not measure: count, under emulation, what one inference executes on --target "
        "aarch64-..., layer by layer.")] = False,
    target: TargetOption = "", mcpu: CpuOption = "", mattr: FeaturesOption = "",
    precision: PrecisionOption = "fp32", accumulate: AccumulateOption = "",
    device: DeviceOption = "vulkan", gpu_profile: GpuProfileOption = "generic",
    strict: Annotated[bool, typer.Option(
        "--strict", help="Exit with 3 if a row is marked: spread above 10 %, load above the cores.")] = False,
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Measure ours sparse, ours dense and PyTorch (and other engines), interleaved in one process."""
    check_apart(json, trace)
    if json is not None:
        check_writable(json, model, weights)
    source = Source(model, prune, seed, steps, trust, only, exclude, shapes_of(shape), weights,
                    batch)
    if counted:
        if threads or layers or trace or every or competing or cpus:
            raise EspalierError("--count takes one thread and every layer: leave out --threads, --layers, "
                                "--trace, --every, --busy and --cpus")
        if not target.startswith("aarch64"):
            raise EspalierError(f"--count needs --target aarch64-..., found '{target}'")
        other = Target.cross(target, mcpu, mattr, precision, accumulate)
        count_command(source, other, against, sparse=not dense, json=json)
        return
    if target == VULKAN:
        if threads or every or competing or cpus or trace or mcpu or mattr or accumulate or dense:
            raise EspalierError("bench --target vulkan takes none of --threads, --every, --busy, --cpus, "
                                "--trace, --mcpu, --mattr, --accumulate and --dense")
        options = BenchOptions(warmup, runs, gpu_peers(against), layers)
        _bench_gpu(source, Target.vulkan(precision, gpu_profile), device, options, json)
        return
    elsewhere = target or mcpu or mattr or accumulate or device != VULKAN
    if elsewhere or precision != "fp32" or gpu_profile != "generic":
        raise EspalierError("bench measures on this machine, in fp32; --target, --mcpu, --mattr, --precision "
                            "and --accumulate need --count, --device and --gpu-profile need --target vulkan")
    pin(cpus)
    counts = thread_counts(threads or f"1,{cores()}")
    names = peer_names(against)
    if trace is not None:
        check_writable(trace, model, weights)
    with progress_bars() as progress, temporary_folder("espalier-bench-") as folder:
        field_ = gather(source, names, str(folder), progress, sparse=not dense)
        with busy(competing):
            records = measure(source.name, field_.engines, threads=counts, warmup=warmup, runs=runs,
                              pause=every / 1000, progress=progress)
        times = {count: measure_layers(field_.ours[0], field_.torch, threads=count, warmup=1, runs=runs,
                                       progress=progress) for count in (counts if layers else [])}
        woken = _wake_lines(field_.ours[0], counts, runs) if layers else []
        if trace is not None:
            first = field_.ours[0]
            timeline = first.compiled.timeline(first.inputs, counts[0])
            write_json(trace, chrome_trace(source.name, first.compiled.layers, timeline))
    say(f"{source.name}{f' --prune {prune}' if prune else ''}\n{Machine.here()}\n"
        f"{_conditions(warmup, runs, every, competing)}")
    usable = cores()
    show(records_table(records, usable))
    doubts = doubt_lines(records, usable)
    for line in [*scaling_lines(records), *woken, *doubts, *field_.left_out]:
        say(line)
    for count, of_count in times.items():
        say(f"layers, {count} thread{'s' if count > 1 else ''} (ours with activation and residual; "
            "PyTorch's without)")
        show(layers_table(of_count))
        guess = prediction_line(_predictions(of_count, field_.ours[0])) if count == 1 else ""
        if guess:
            say(guess)
    if json is not None:
        found = as_json(records, field_.ours[0].variant, times)
        write_json(json, {**circumstances(), "load": load_average(), "records": found})
    if strict and doubts:
        raise typer.Exit(3)


def _conditions(warmup: int, runs: int, every: float, competing: int) -> str:
    """How the rows were measured, in one line."""
    pause = f", {every:g} ms pause before each" if every else ""
    others = f", {competing} process{'es' if competing > 1 else ''} competing" if competing else ""
    return f"warm-up {warmup}, runs {runs}{pause}, interleaved, one process{others}"


def _wake_lines(ours: EspalierEngine, counts: Sequence[int], runs: int) -> list[str]:
    """For each number of threads but 1: how long the second one takes to come when it sleeps."""
    lines = []
    for count in (count for count in counts if count > 1):
        ours.set_threads(count)
        microseconds = [1e6 * seconds for seconds in ours.wake_ups(max(runs, WAKE_UPS))]
        if microseconds:
            lines.append(f"wake-up, {count} threads: the second one claims its first work "
                         f"{median(microseconds):.0f} us after the call (median of {len(microseconds)}, "
                         f"p90 {percentile(microseconds, 90):.0f} us), from sleep")
    return lines


def _predictions(times: Sequence[LayerTime], ours: EspalierEngine) -> list[tuple[float | None, float | None]]:
    """Predicted and measured milliseconds of layers, some of which run as one, ``first+second``."""
    known = {layer.name: layer.predicted_ms for layer in ours.compiled.layers}
    found: list[tuple[float | None, float | None]] = []
    for time in times:
        parts = [known.get(name) for name in time.name.split("+")]
        found.append((None if None in parts else sum(part or 0.0 for part in parts), time.ours_ms))
    return found


def peer_names(text: str) -> list[str]:
    """The peers named in ``--against``; ``torch`` always takes part and is not among them."""
    names = [name for name in dict.fromkeys(text.split(",")) if name not in ("", "torch")]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise EspalierError(f"--against knows torch, {', '.join(PEERS)}; found '{unknown[0]}'")
    return names


def gpu_peers(against: str) -> list[str]:
    """The peers that have a GPU's backend."""
    names = [name for name in against.split(",") if name]
    for name in names:
        if name != "ncnn":
            raise unknown("peer on a GPU", name, ("ncnn",))
    return names


def _bench_gpu(source: Source, target: Target, device: str, options: BenchOptions, json: Path | None) -> None:
    with progress_bars() as progress, temporary_folder("espalier-bench-") as folder:
        times, left_out = bench_gpu(source, target, device_number(device), options, str(folder), progress)
    show(gpu_times_table(f"{source.name} on {device}, {target.name}, {target.precision}", times))
    for line in left_out:
        say(line)
    if options.layers:
        show(gpu_layers_table(times))
    if json is not None:
        write_json(json, {**circumstances(), "load": load_average(), "device": device,
                          "engines": [own.as_json() for own in times]})


def gather(source: Source, names: Sequence[str], folder: str, progress: Progress, *, sparse: bool) -> Field:
    """Compiles and converts everything that takes part, and checks it against PyTorch on the way."""
    field_ = Field()
    for variant in ("sparse", "dense") if sparse else ("dense",):
        def step(text: str, done: int, total: int, variant: str = variant) -> None:
            progress(f"{variant}: {text}", done, total)

        compiled, inputs = source.compile(sparse=variant == "sparse", progress=step)
        field_.ours.append(EspalierEngine(compiled, inputs, variant))
    pruned, tensors = source.load()
    try:
        reference = TorchEngine(pruned, tensors).run()
    except EspalierError as error:
        field_.left_out += [f"{name}: left out, {error}" for name in ("torch", *names)]
        return field_
    for ours in field_.ours:
        error_ = relative_error(ours.run(), reference)
        if not error_ <= SAME:
            raise EspalierError(f"our {ours.variant} outputs differ from PyTorch's by {error_:.1e} of the "
                                f"largest output (allowed: {SAME:.0e}): times would mean nothing")
    dense, tensors = source.load(pruned=False) if source.prune else (pruned, tensors)
    field_.torch = TorchEngine(dense, tensors)
    network = Network(dense, tensors, folder)
    for done, name in enumerate(names):
        progress("converting for the peers", done, len(names))
        try:
            field_.peers.append(load_peer(name, network))
        except Unavailable as reason:
            field_.left_out.append(f"{name}: left out, {reason}")
    progress("converting for the peers", len(names), max(1, len(names)))
    return field_


def as_json(records: Sequence[Record], variant: str,
            layers: dict[int, list[LayerTime]]) -> list[dict[str, Any]]:
    """The records; those of our measured variant carry their ``layers`` where they were timed."""
    result = []
    for record in records:
        value = record.as_json()
        if (record.engine, record.variant) == ("espalier", variant) and record.threads in layers:
            value["layers"] = [layer.as_json() for layer in layers[record.threads]]
        result.append(value)
    return result
