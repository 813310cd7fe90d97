"""``espalier run FILE --input x.npy --output y.npy --check``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ...errors import EspalierError
from ...files import check_writable, replacing
from ..compiled import load_compiled
from .common import DebugOption, out

TOLERANCE = 1e-4  # of the largest output

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file that espalier compile wrote.")]


def run_command(
    file: FileArgument,
    input: Annotated[list[Path] | None, typer.Option(
        metavar="X.npy", help="An input; give one for each, in order.")] = None,
    output: Annotated[list[Path] | None, typer.Option(
        metavar="Y.npy", help="Where an output goes; give one for each, in order.")] = None,
    check: Annotated[bool, typer.Option(
        "--check", help="Replay the recorded run and compare.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads to run on.")] = 1,
    debug: DebugOption = False,
) -> None:
    """Run a compiled model on .npy files, or check it on this machine."""
    if not input and not check:
        raise EspalierError("nothing to do: give --input X.npy, or --check to replay the recorded run")
    if output and not input:
        raise EspalierError("--output needs --input")
    for path in output or []:
        check_writable(path)
    arrays = [read_array(path) for path in input or []]
    model = load_compiled(file)
    if check:
        error = model.check(threads)
        if not error <= TOLERANCE:
            raise EspalierError(f"'{file}': the outputs differ from the recorded ones by {error:.1e} of the "
                                f"largest output (allowed: {TOLERANCE:.0e})")
        out.print(f"check passed: max abs error {error:.1e} of the largest output", markup=False)
    if not arrays:
        return
    if output and len(output) != len(model.outputs):
        raise EspalierError(f"'{file}' has {len(model.outputs)} outputs, found {len(output)} --output files")
    start = time.perf_counter()
    results = model.run(arrays, threads)
    seconds = time.perf_counter() - start
    for path, result in zip(output or [], results, strict=False):
        with replacing(path) as stream:
            np.lib.format.write_array(stream, result, allow_pickle=False)
    for spec, result in zip(model.outputs, results, strict=True):
        out.print(f"{spec.name}: {spec.dtype}{list(result.shape)}, "
                  f"min {result.min():.6g}, max {result.max():.6g}", markup=False)
    out.print(f"{1000 * seconds:.2f} ms, {threads} thread{'s' if threads > 1 else ''}")


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file; EspalierError when there is none."""
    try:
        with path.open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError) as error:
        raise EspalierError(f"'{path}' is not a .npy file of numbers: {error}") from error
