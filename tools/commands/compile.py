"""``espalier compile MODEL -o FILE``, for this machine or for another one."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import EspalierError
from ...files import replacing
from ...pipelines.codegen import IREE
from ...pipelines.codegen.spirv_folder import write_disassembly, write_folder
from ...pipelines.target import VULKAN, Target
from ...runtime.executors.vulkan_program import decode
from ..compiled import Source
from ..emission import ALL_SUFFIXES, Emission, Show, written_reproducer
from ..report.data import factor, shared_weights, size
from .common import (
    BatchOption,
    DebugOption,
    ExcludeOption,
    GpuProfileOption,
    LreOption,
    ModelArgument,
    OnlyOption,
    PrecisionOption,
    PruneOption,
    SeedOption,
    ShapeOption,
    StepsOption,
    TargetOption,
    TrustOption,
    WeightsOption,
    batches_of,
    err,
    out,
    progress_bars,
    shapes_of,
)

if TYPE_CHECKING:
    from ...pipelines.codegen.emit import Products
    from ...pipelines.driver import Watch
    from ...runtime.compiled_model import CompiledModel
    from ...runtime.model_file import ModelFile

OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The compiled model.")]
CpuOption = Annotated[str, typer.Option(
    "--mcpu", metavar="CPU", help="The target's processor: cortex-a76, x86-64-v4, ...; native: this one.")]
FeaturesOption = Annotated[str, typer.Option(
    "--mattr", metavar="FEATURES", help="Processor features to add or take away: +fullfp16,-sve.")]
AccumulateOption = Annotated[str, typer.Option(
    metavar="fp16|fp32", help="What convolutions and pools compute in, of fp16 tensors (default: fp16).")]
EmitOption = Annotated[str, typer.Option(
    metavar="KIND,...", help=f"What to write: {', '.join(ALL_SUFFIXES)}. The IR of a stage, any; the model "
    "file, or code without the weights, for a --target. Several take FILE's name, each with its suffix.")]
DumpOption = Annotated[Path | None, typer.Option(
    "--dump-stages", "--dump", metavar="DIR", help="Write the IR before and after every stage; "
    "espalier-opt --run-reproducer goes on with each.")]
PrintOption = Annotated[str, typer.Option(
    "--print-ir-after", metavar="PASS,...", help="Print the IR after these passes (all), without weights.")]
TimingOption = Annotated[bool, typer.Option("--timing", help="Report the time of each pass.")]
StatisticsOption = Annotated[bool, typer.Option("--statistics", help="Report what each pass counted.")]
ReproducerOption = Annotated[Path | None, typer.Option(
    "--reproducer", metavar="FILE", help="Where a failing pass's IR and remaining pipeline go.")]
LinkerOption = Annotated[str, typer.Option(
    metavar="CMD", help="A C compiler for the target, such as an NDK's clang, instead of zig.")]
CheckOption = Annotated[bool, typer.Option(
    "--check/--no-check", help="Compare the compiled code with PyTorch on the recorded input, and refuse to "
    "write what differs.")]
TunedOption = Annotated[bool, typer.Option(
    "--tuned/--no-tuned", help="Use what espalier tune found for this machine, where its database is there.")]
DatabaseOption = Annotated[Path | None, typer.Option(
    "--database", metavar="FILE", help="The tuner's database (default: tuned.sqlite in the user's "
    "configuration).")]
NameOption = Annotated[str, typer.Option(
    metavar="NAME", help="The tail of the exported symbol espalier_model_NAME (default: the model's name).")]


def compile_command(
    model: ModelArgument, output: OutputOption, prune: PruneOption = None, only: OnlyOption = "",
    exclude: ExcludeOption = "", seed: SeedOption = 0, steps: StepsOption = None,
    shape: ShapeOption = None, weights: WeightsOption = "", batch: BatchOption = "",
    dense: Annotated[bool, typer.Option("--dense", help="Ignore the zeros: our dense kernels.")] = False,
    lre: LreOption = True, target: TargetOption = "", mcpu: CpuOption = "", mattr: FeaturesOption = "",
    precision: PrecisionOption = "fp32", accumulate: AccumulateOption = "",
    gpu_profile: GpuProfileOption = "generic",
    emit: EmitOption = "model", linker: LinkerOption = "", name: NameOption = "",
    check: CheckOption = True, tuned: TunedOption = True, database: DatabaseOption = None,
    trust: TrustOption = False, dump_stages: DumpOption = None,
    print_ir_after: PrintOption = "", timing: TimingOption = False, statistics: StatisticsOption = False,
    reproducer: ReproducerOption = None, debug: DebugOption = False,
) -> None:
    """Compile MODEL and write one file with code, weights and a recorded run; or, for a target, its code."""
    from ... import CompileOptions

    if gpu_profile != "generic" and target != VULKAN:
        raise EspalierError("--gpu-profile needs --target vulkan")
    emission = Emission.of(emit, output, target == VULKAN, (model, weights, database))
    if IREE in emission.paths and not target:
        target, mcpu = f"{platform.machine()}-linux-gnu", mcpu or "native"
    batches = _batches(batch, emission)
    code = [kind for kind in emission.products if kind != "model"]
    cross = bool(mcpu or mattr or linker or name or accumulate or code or precision != "fp32")
    if cross and not target:
        raise EspalierError("--emit, --mcpu, --mattr, --precision, --accumulate, --linker and --name need "
                            "--target")
    found = tuned_database(tuned, database)
    start = time.perf_counter()
    source = Source(model, prune, seed, steps, trust, only, exclude, shapes_of(shape), weights)
    if target == VULKAN and (mcpu or mattr or linker or name or accumulate):
        raise EspalierError("--target vulkan takes none of --mcpu, --mattr, --accumulate, --linker and "
                            "--name")
    other = _target(target, mcpu, mattr, precision, accumulate, gpu_profile)
    options = CompileOptions(sparse=not dense, eliminate_redundant_loads=lre, check=check, database=found)
    watch = Show(print_ir_after, timing, statistics, reproducer, dump_stages).watch(
        emission, other or Target.host(), options)
    with progress_bars() as progress, _reporting(watch):
        if emission.last:
            source.lower(other or Target.host(), options, emission.last, progress, watch)
            compiled = None
        elif other is not None and IREE in emission.paths:
            compiled = None
            made, recorded = source.for_iree(other, options, name or source.name, progress, watch)
            made.write(output, *recorded)
        elif other is None:
            compiled, _ = source.compile(options=options, progress=progress, watch=watch, batch=batches)
            progress("writing", 0, 1)
            compiled.save(emission.products["model"])
        else:
            file = source.compile_for(other, options=options, progress=progress, watch=watch, batch=batches)
            progress(f"code for {target}", 0, 1)
            compiled = _write(emission.products, file, other, name or source.name, linker)
    if check and other is not None and compiled is not None:
        out.print(f"not checked against PyTorch: compiled for another machine; run 'espalier run --check' "
                  f"there on {output}", markup=False)
    out.print(f"{', '.join(map(str, emission.paths.values()))}: {source.name}{_summary(compiled)}, "
              f"{time.perf_counter() - start:.1f} s", markup=False)


def _batches(text: str, emission: Emission) -> list[int]:
    """What ``--batch`` says, of what can be written for several sizes."""
    batches = batches_of(text)
    whole = [kind for kind in (*emission.stages, IREE) if kind in emission.paths]
    if batches and whole:
        raise EspalierError(f"--batch compiles several codes, so it takes no --emit {', '.join(whole)}")
    return batches


def tuned_database(tuned: bool, database: Path | None) -> str | None:
    """The tuner's database as ``CompileOptions`` takes it: a path, empty for none, None for the user's."""
    if database is None:
        return None if tuned else ""
    if not tuned:
        raise EspalierError("--database names what --no-tuned leaves out: give one of them")
    if not database.is_file():
        raise EspalierError(f"there is no database '{database}'; espalier tune makes one")
    return str(database)


def _summary(compiled: CompiledModel | None) -> str:
    """A compiled model's sizes in a line's middle; nothing where only stages were written."""
    if compiled is None:
        return ""
    before = sum(layer.bytes_dense for layer in compiled.layers)
    smaller = factor(before, compiled.weight_bytes)
    return (f", {len(compiled.layers)} layers, weights {size(before)} -> {size(compiled.weight_bytes)}"
            f"{f' ({smaller})' if smaller else ''}{shared_weights(compiled.file)}, "
            f"arena {size(compiled.arena_bytes)}")


def _target(triple: str, mcpu: str, mattr: str, precision: str, accumulate: str,
            profile: str) -> Target | None:
    """What ``--target`` and its kin name; None for this machine."""
    if triple == VULKAN:
        return Target.vulkan(precision, profile)
    return Target.cross(triple, mcpu, mattr, precision, accumulate) if triple else None


@contextmanager
def _reporting(watch: Watch) -> Iterator[None]:
    """Says, after a failure, where the reproducer is."""
    try:
        yield
    except EspalierError:
        reproducer = written_reproducer(watch.instruments)
        if reproducer is not None:
            err.print(f"espalier: note: pass '{reproducer.failing}' failed; '{reproducer.command}' repeats "
                      f"it", markup=False)
        raise


def _write(paths: dict[str, Path], file: ModelFile, target: Target, name: str, linker: str) -> CompiledModel:
    """Writes ``file``, compiled for ``target``, as each of the kinds in ``paths``; the compiled model."""
    from ...pipelines.codegen.emit import Products, identifier
    from ...runtime.compiled_model import CompiledModel

    products = Products(file, target, identifier(name), linker)
    for kind, path in paths.items():
        if target.triple == VULKAN:
            _write_for_gpu(path, file, kind)
        elif kind == "model":
            file = products.model()
            file.write(path)
        else:
            for part, own in _named(products, path):
                with replacing(own) as stream:
                    stream.write(part.make(kind, own.name))
                if kind == "exe":
                    own.chmod(own.stat().st_mode | 0o111)
    return CompiledModel(file)


def _named(products: Products, path: Path) -> Iterator[tuple[Products, Path]]:
    """What is written of code: one file, or for several batch sizes one each, ``net_b8.o`` of ``net.o``,
    whose symbols end likewise. All of them take the same model file."""
    if not products.file.variants:
        yield products, path
        return
    for part in products.file.parts:
        tail = f"_b{part.manifest['batch']}"
        own = path.with_name(f"{path.name.partition('.')[0]}{tail}{''.join(path.suffixes)}")
        yield replace(products, file=part, name=products.name + tail), own


def _write_for_gpu(path: Path, file: ModelFile, kind: str) -> None:
    if kind == "model":
        file.write(path)
        return
    program = decode(file.code, file.weights.tobytes())
    if kind == "spirv":
        write_folder(program, path)
    else:
        write_disassembly(program, path)
