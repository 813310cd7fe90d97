"""``espalier run FILE --input x.npy --output y.npy --check``, here or on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich import box
from rich.table import Table

from ...errors import EspalierError
from ...files import check_apart, check_readable, check_writable, replacing, temporary_folder
from ...runtime.devices import DEVICES, find_device, run_on
from ...runtime.devices.remote_gpu import is_remote_gpu, run_on_remote_gpu
from ...runtime.devices.vulkan import is_vulkan, run_on_gpu
from ...runtime.executors.team import fast_cores
from ...runtime.model_file import ModelFile
from ...runtime.states import interface
from ...runtime.trust import Trust, read_file
from ..compiled import load_compiled
from ..cpus import cpus_of, pin
from ..text import plain
from .common import CpusOption, DebugOption, out, show

if TYPE_CHECKING:
    from ...runtime.compiled_model import CompiledModel

Sha256Option = Annotated[str | None, typer.Option(
    "--sha256", metavar="HEX", help="Refuse a FILE with another SHA-256.")]
VerifyOption = Annotated[str | None, typer.Option(
    "--verify", metavar="KEY.pem", help="Refuse a FILE that FILE.sig does not prove signed by this key.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file that espalier compile wrote.")]


def run_command(
    file: FileArgument,
    input: Annotated[list[Path] | None, typer.Option(
        metavar="X.npy", help="An input; give one for each, in order.")] = None,
    output: Annotated[list[Path] | None, typer.Option(
        metavar="Y.npy", help="Where an output goes; give one for each, in order.")] = None,
    check: Annotated[bool, typer.Option(
        "--check", help="Replay the recorded run and compare.")] = False,
    threads: Annotated[int, typer.Option(
        min=0, help="Threads to run on; 0: one a fast processor.")] = 1,
    cpus: CpusOption = "",
    repeat: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 1,
    device: Annotated[str, typer.Option(
        metavar="DEVICE", help=f"Where to run a model compiled with --target: {DEVICES}.")] = "",
    profile: Annotated[bool, typer.Option(
        "--profile", help="Show where the last run's time went on the device.")] = False,
    sha256: Sha256Option = None, verify: VerifyOption = None,
    mmap: Annotated[bool, typer.Option(
        "--mmap/--no-mmap", help="Map FILE, or read it, so that it may change meanwhile.")] = True,
    debug: DebugOption = False,
) -> None:
    """Run a compiled model on .npy files, or check it, on this machine or on a device."""
    if not input and not check:
        ModelFile.read(file, verify=False)  # a file that is missing or no model comes first
        raise EspalierError("nothing to do: give --input X.npy, or --check to replay the recorded run")
    if output and not input:
        raise EspalierError("--output needs --input")
    if profile and not device:
        raise EspalierError("--profile needs --device; for this machine: espalier bench MODEL --layers")
    check_apart(*output or [])
    for path in output or []:
        check_writable(path, file, *input or [])
    arrays = [read_array(path) for path in input or []]
    trust = Trust(sha256, verify)
    if device:
        with _trusted(file, trust) as path:
            _run_there(device, path, arrays, output or [], check, threads, cpus, repeat, profile)
    else:
        pin(cpus)
        threads = threads or fast_cores()
        model = load_compiled(file, sha256=sha256, verify_key=verify, mmap=mmap)
        _run_here(model, file, arrays, output or [], check, threads, repeat)


@contextmanager
def _trusted(file: Path, trust: Trust) -> Iterator[Path]:
    """``file``, or a copy of what was checked, which nobody can change before it goes to the device."""
    if not trust.asked:
        yield file
        return
    data = read_file(file)
    trust.check(data, file)
    with temporary_folder("espalier-run-") as folder:
        copy = Path(folder, file.name)
        copy.write_bytes(data)
        yield copy


def _run_here(model: CompiledModel, file: Path, inputs: Sequence[np.ndarray], output: Sequence[Path],
              check: bool, threads: int, repeat: int) -> None:
    if check:
        error = model.check(threads)
        if not error <= model.tolerance:
            raise EspalierError(f"'{file}': the outputs differ from the recorded ones by {error:.1e} of the "
                                f"largest output (allowed: {model.tolerance:.0e})")
        _passed(error)
    if not inputs:
        return
    _check_count(file, output, len(model.outputs))
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        results = model.run(inputs, threads)
        times.append(1000 * (time.perf_counter() - start))
    _keep(output, results, [(spec.name, spec.dtype) for spec in model.outputs])
    _timed(statistics.median(times), min(times), max(times), repeat, threads)


def _run_there(device: str, path: Path, inputs: Sequence[np.ndarray], output: Sequence[Path], check: bool,
               threads: int, cpus: str, repeat: int, profile: bool) -> None:
    if cpus:
        cpus_of(cpus)
    file = ModelFile.read(path)
    specs = [(spec.name, spec.dtype) for spec in interface(file.manifest)[1]]
    _check_count(path, output, len(specs))
    if is_vulkan(device) or is_remote_gpu(device):
        refused = "threads" if threads != 1 else "cpus" if cpus else ""
        if refused:
            raise EspalierError(f"--device {device} takes no --{refused}")
        there = run_on_gpu if is_vulkan(device) else run_on_remote_gpu
        done = there(device, path, file, inputs, check=check, repeat=repeat, profile=profile)
    else:
        done = run_on(find_device(device, file), path, file, inputs, check=check, threads=threads,
                      cpus=cpus, repeat=repeat, profile=profile)
    if done.error is not None:
        _passed(done.error)
    _keep(output, done.outputs, specs)
    _timed(*done.milliseconds, done.runs, done.threads, f" on {device}")
    if profile:
        show(_profile_table(done.profile))


def _check_count(file: Path, output: Sequence[Path], expected: int) -> None:
    if output and len(output) != expected:
        raise EspalierError(f"'{file}' has {expected} outputs, found {len(output)} --output files")


def _passed(error: float) -> None:
    out.print(f"check passed: max abs error {error:.1e} of the largest output", markup=False)


def _keep(paths: Sequence[Path], results: Sequence[np.ndarray], specs: Sequence[tuple[str, str]]) -> None:
    """Writes the outputs and says what they are; ``specs``: name and dtype of each."""
    for path, result in zip(paths, results, strict=False):
        with replacing(path) as stream:
            np.lib.format.write_array(stream, result, allow_pickle=False)
    for (name, dtype), result in zip(specs, results, strict=False):
        out.print(f"{name}: {dtype}{list(result.shape)}, min {result.min():.6g}, max {result.max():.6g}",
                  markup=False)


def _timed(median: float, least: float, most: float, runs: int, threads: int, where: str = "") -> None:
    spread = f" ({least:.2f} to {most:.2f}, median of {runs})" if runs > 1 else ""
    out.print(f"{median:.2f} ms{spread}, {threads} thread{'s' if threads > 1 else ''}{where}", markup=False)


def _profile_table(profile: Sequence[tuple[str, float]]) -> Table:
    """A row a layer, or a kind of operation outside of layers, in the order of their first statements."""
    spent: dict[str, float] = {}
    for label, milliseconds in profile:
        spent[label] = spent.get(label, 0.0) + milliseconds
    total = sum(spent.values())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    for label, milliseconds in spent.items():
        share = f"{milliseconds / total:.0%}" if total else "-"
        table.add_row(plain(label), f"{milliseconds:.3f}", share)
    return table


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file; EspalierError when there is none."""
    check_readable(path)
    try:
        with path.open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError) as error:
        raise EspalierError(f"'{path}' is not a .npy file of numbers: {error}") from error
