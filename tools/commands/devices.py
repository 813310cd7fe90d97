"""``espalier devices``: the GPUs that a model compiled for Vulkan can run on."""

from __future__ import annotations

from rich import box
from rich.table import Table

from ...runtime.executors.vulkan import devices
from ..report.data import size
from ..text import plain
from .common import DebugOption, show

_COLUMNS = ("device", "name", "driver", "Vulkan", "type", "memory", "fp16", "largest workgroup",
            "profiles that fit")


def devices_command(debug: DebugOption = False) -> None:
    """List the Vulkan devices of this machine; --device vulkan:N takes the number."""
    from ...sparse_dialect.lowering.gpu.profiles import PROFILES  # here: it loads the compiler

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for number, gpu in enumerate(devices()):
        table.add_row(*map(plain, (f"vulkan:{number}", gpu.name, gpu.driver, gpu.version, gpu.type,
                                   size(gpu.memory), "yes" if gpu.fp16 else "no", gpu.workgroup,
                                   f"none: {gpu.misfit()}" if gpu.misfit() else ", ".join(PROFILES))))
    show(table)
