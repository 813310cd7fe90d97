"""``espalier compile MODEL -o FILE``, for this machine or for another one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import EspalierError
from ...files import check_writable, replacing
from ...pipelines.codegen import KINDS
from ...pipelines.codegen.spirv_folder import check_emitted, write_disassembly, write_folder
from ...pipelines.target import VULKAN, Target
from ...runtime.executors.vulkan_program import decode
from ..compiled import Source
from ..report.data import factor, size
from .common import (
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
    out,
    progress_bars,
    shapes_of,
)

if TYPE_CHECKING:
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
    metavar="|".join((*KINDS, "spirv")),
    help="What to write for a target: a model file, or code without the weights; of a GPU's kernels a folder "
    "of modules with their dispatch list (spirv), or their disassembly (asm).")]
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
    shape: ShapeOption = None, weights: WeightsOption = "",
    dense: Annotated[bool, typer.Option("--dense", help="Ignore the zeros: our dense kernels.")] = False,
    lre: LreOption = True, target: TargetOption = "", mcpu: CpuOption = "", mattr: FeaturesOption = "",
    precision: PrecisionOption = "fp32", accumulate: AccumulateOption = "",
    gpu_profile: GpuProfileOption = "generic",
    emit: EmitOption = "model", linker: LinkerOption = "", name: NameOption = "",
    check: CheckOption = True, tuned: TunedOption = True, database: DatabaseOption = None,
    trust: TrustOption = False, debug: DebugOption = False,
) -> None:
    """Compile MODEL and write one file with code, weights and a recorded run; or, for a target, its code."""
    if target == VULKAN:
        check_emitted(emit, output)
    elif emit not in KINDS:
        raise EspalierError(f"--emit expects one of {', '.join(KINDS)}, found '{emit}'")
    if emit != "spirv":
        check_writable(output)
    cross = mcpu or mattr or linker or name or accumulate or emit != "model" or precision != "fp32"
    if gpu_profile != "generic" and target != VULKAN:
        raise EspalierError("--gpu-profile needs --target vulkan")
    if cross and not target:
        raise EspalierError("--emit, --mcpu, --mattr, --precision, --accumulate, --linker and --name need "
                            "--target")
    found = tuned_database(tuned, database)
    start = time.perf_counter()
    source = Source(model, prune, seed, steps, trust, only, exclude, shapes_of(shape), weights)
    if target == VULKAN:
        if mcpu or mattr or linker or name or accumulate:
            raise EspalierError("--target vulkan takes none of --mcpu, --mattr, --accumulate, --linker and "
                                "--name")
        other: Target | None = Target.vulkan(precision, gpu_profile)
    else:
        other = Target.cross(target, mcpu, mattr, precision, accumulate) if target else None
    with progress_bars() as progress:
        if other is None:
            compiled, _ = source.compile(sparse=not dense, eliminate_redundant_loads=lre, check=check,
                                         database=found, progress=progress)
            progress("writing", 0, 1)
            compiled.save(output)
        else:
            file = source.compile_for(other, sparse=not dense, eliminate_redundant_loads=lre,
                                      database=found, progress=progress)
            progress(f"code for {target}", 0, 1)
            compiled = _write(output, file, other, name or source.name, emit, linker)
    before = sum(layer.bytes_dense for layer in compiled.layers)
    smaller = factor(before, compiled.weight_bytes)
    if check and other is not None:
        out.print(f"not checked against PyTorch: compiled for another machine; run 'espalier run --check' "
                  f"there on {output}", markup=False)
    out.print(f"{output}: {source.name}, {len(compiled.layers)} layers, "
              f"weights {size(before)} -> {size(compiled.weight_bytes)}{f' ({smaller})' if smaller else ''}, "
              f"arena {size(compiled.arena_bytes)}, {time.perf_counter() - start:.1f} s", markup=False)


def tuned_database(tuned: bool, database: Path | None) -> str | None:
    """The tuner's database as ``CompileOptions`` takes it: a path, empty for none, None for the user's."""
    if database is None:
        return None if tuned else ""
    if not tuned:
        raise EspalierError("--database names what --no-tuned leaves out: give one of them")
    if not database.is_file():
        raise EspalierError(f"there is no database '{database}'; espalier tune makes one")
    return str(database)


def _write_for_gpu(output: Path, file: ModelFile, kind: str) -> None:
    if kind == "model":
        file.write(output)
        return
    program = decode(file.code, file.weights.tobytes())
    if kind == "spirv":
        write_folder(program, output)
    else:
        write_disassembly(program, output)


def _write(output: Path, file: ModelFile, target: Target, name: str, kind: str, linker: str) -> CompiledModel:
    """Writes ``file``, compiled for ``target``, as one of ``KINDS``; the compiled model."""
    from ...pipelines.codegen.emit import cross_compiled, emit, identifier
    from ...runtime.compiled_model import CompiledModel

    if target.triple == VULKAN:
        _write_for_gpu(output, file, kind)
    elif kind == "model":
        file = cross_compiled(file, target, identifier(name), linker)
        file.write(output)
    else:
        made = emit(kind, file, target, identifier(name), output.name, linker)
        with replacing(output) as stream:
            stream.write(made)
    if kind == "exe":
        output.chmod(output.stat().st_mode | 0o111)
    return CompiledModel(file)
