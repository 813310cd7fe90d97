"""``espalier calibrate``: measures this machine's own figures, which predictions then use."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from ...errors import EspalierError
from ...files import CALIBRATION, configuration_folder, replacing
from ..bench.machine import Machine
from .common import DebugOption, out, progress_bars, show

DEVICES = ("host",)


def calibrate_command(
    device: Annotated[str, typer.Option(metavar="DEVICE", help="What to measure: host.")] = "host",
    debug: DebugOption = False,
) -> None:
    """Measure what one core of this machine does at most; report and bench then predict by it."""
    if device not in DEVICES:
        raise EspalierError(f"--device expects one of {', '.join(DEVICES)}, found '{device}'")
    from ...pipelines.target import Target
    from ...sparse_dialect.devices.calibration import as_text, calibrations
    from ..calibrate.measure import calibrated

    path, target = configuration_folder() / CALIBRATION, Target.host()
    known = calibrations(path)
    with progress_bars() as progress:
        found = calibrated(target, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(as_text({**known, target.machine: found}).encode())
    table = Table(box=box.SIMPLE_HEAD, title=f"{target.machine}, one core\n{Machine.here()}",
                  title_justify="left", pad_edge=False)
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_row("multiply-adds, fp32", f"{found.gflops:.1f} GFLOP/s")
    for kib, gigabytes in found.levels.items():
        table.add_row(f"reads of {kib} KiB", f"{gigabytes:.1f} GB/s")
    show(table)
    out.print(f"kept in {path}", markup=False)
