"""``espalier calibrate``: measures a machine's own figures, which predictions then use."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from ...errors import EspalierError
from ...files import CALIBRATION, configuration_folder, replacing
from ..bench.machine import Machine
from .common import DebugOption, TargetOption, out, progress_bars, show
from .compile import CpuOption

KINDS = ("host", "adb", "ssh", "local")


def calibrate_command(
    device: Annotated[str, typer.Option(
        metavar="DEVICE", help="What to measure: host, or for a --target adb:SERIAL, ssh:HOST or local.")
    ] = "host",
    target: TargetOption = "", mcpu: CpuOption = "",
    debug: DebugOption = False,
) -> None:
    """Measure what one core of a machine does at most; report and bench then predict by it."""
    kind, _, where = device.partition(":")
    if kind == "qemu":
        raise EspalierError("an emulator's times are not those of the processor: documented figures stand; "
                            "expected one of host, adb:SERIAL, ssh:HOST, local")
    if kind not in KINDS or bool(where) != (kind in ("adb", "ssh")):
        raise EspalierError(f"--device expects one of host, adb:SERIAL, ssh:HOST, local, found '{device}'")
    if (kind == "host") == bool(target):
        raise EspalierError(f"the device {device} {'takes no' if target else 'needs a'} --target")
    if mcpu and not target:
        raise EspalierError("--mcpu needs --target")
    from ...pipelines.target import Target
    from ...sparse_dialect.devices.calibration import as_text, calibrations

    path = configuration_folder() / CALIBRATION
    made_for = Target.cross(target, mcpu) if target else Target.host()
    known = calibrations(path)
    with progress_bars() as progress:
        if target:
            from ..calibrate.on_device import calibrated_there

            found = calibrated_there(device, made_for, progress)
        else:
            from ..calibrate.measure import calibrated

            found = calibrated(made_for, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(as_text({**known, made_for.machine: found}).encode())
    where = f"on {device}" if target else str(Machine.here())
    table = Table(box=box.SIMPLE_HEAD, title=f"{made_for.machine}, one core\n{where}",
                  title_justify="left", pad_edge=False)
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_row("multiply-adds, fp32", f"{found.gflops:.1f} GFLOP/s")
    for kib, gigabytes in found.levels.items():
        table.add_row(f"reads of {kib} KiB", f"{gigabytes:.1f} GB/s")
    show(table)
    out.print(f"kept in {path}", markup=False)
