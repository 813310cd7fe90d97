"""The figures of one core of another machine: the same loops, compiled ahead of time and timed there.

    peak, stream (MLIR) -> object for the target + loops.c -> program -> device -> JSON lines
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import EspalierError
from ...files import temporary_folder
from ...pipelines.codegen.codegen import TargetCode
from ...pipelines.codegen.link import Linker
from ...pipelines.codegen.llvm_text import translate
from ...pipelines.target import Target
from ...runtime.devices import Device, device_for, reports_of
from ...sparse_dialect.devices.calibration import Calibration, checked
from ...sparse_dialect.ir.mlir import ir
from . import measure
from .measure import FROM_MEMORY, LEVELS, LOOP_S, MOST_GIGABYTES, loops_text, lowered, peak_turns, sums_of

SOURCE = Path(__file__).with_name("loops.c")
PROGRAM = "loops"


def calibrated_there(name: str, target: Target, progress: Callable[[str, int, int], None]) -> Calibration:
    """Measures the device of that ``name``, which runs code for ``target``; ``EspalierError`` where it does
    not, and where it is lost."""
    device = device_for(name, target.triple, target.cpu)
    progress("calibrating", 0, 2)
    program = program_for(target)
    progress("calibrating", 1, 2)
    with temporary_folder("espalier-calibrate-") as folder, device:
        path = Path(folder, PROGRAM)
        path.write_bytes(program)
        path.chmod(0o755)
        device.put(path, PROGRAM)
        found = _calibration(device)
    progress("calibrating", 2, 2)
    return found


def program_for(target: Target) -> bytes:
    """The program that times the loops, for ``target``."""
    with ir.Context() as context, ir.Location.unknown():
        context.enable_multithreading(False)
        text = translate(lowered(loops_text(target)).operation)
    known = {"LANES": target.lanes, "SUMS": sums_of(target), "LEVELS": ",".join(map(str, LEVELS)),
             "REPEATS": measure.REPEATS, "PEAK_TURNS": peak_turns(target),
             "STREAM_BYTES": int(LOOP_S * MOST_GIGABYTES * 1e9)}
    flags = [f"-D{name}={value}" for name, value in known.items()]
    return Linker(target.triple).executable(TargetCode(text, target).object, [SOURCE], flags)


def _calibration(device: Device) -> Calibration:
    reports = reports_of(device, device.run(PROGRAM, ()))
    try:
        gflops = next(float(report["gflops"]) for report in reports if "gflops" in report)
        levels = {str(report["kib"]): checked(float(report["gigabytes"]), f"reads of {report['kib']} KiB")
                  for report in reports if "kib" in report}
        return Calibration(checked(gflops, "multiply-adds"), levels[FROM_MEMORY], levels)
    except (StopIteration, KeyError, TypeError, ValueError) as error:
        raise EspalierError(f"{device.name}: the program's report is incomplete ({error!r})") from error
