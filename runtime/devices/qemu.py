"""``qemu`` or ``qemu:CPU``: this machine, emulating the target's processor with qemu-user.

Outputs are those of the real processor, times are not.
"""

from __future__ import annotations

import subprocess

from ...errors import EspalierError, unknown
from ...programs import PROGRAMS, path_of
from .local import LocalDevice


class QemuDevice(LocalDevice):
    """
    An emulated ``cpu`` of ``triple``'s architecture.

    Where QEMU does not know that one, it is an error if ``exact``, else ``max``, QEMU's with every feature.
    """

    name = "qemu"

    def __init__(self, triple: str, cpu: str, exact: bool) -> None:
        super().__init__(triple)
        self._cpu, self._exact = cpu, exact

    def _find_launcher(self) -> list[str]:
        return emulator(self._triple, self._cpu, self._exact)


def emulator(triple: str, cpu: str, exact: bool = False) -> list[str]:
    """The command that emulates ``cpu`` (as for QemuDevice), to be followed by a program."""
    program = f"qemu-{triple.partition('-')[0]}"
    if program not in PROGRAMS:
        raise EspalierError(f"qemu: no emulator is known for '{triple}'")
    path_of(program)
    listed = subprocess.run([program, "-cpu", "help"], capture_output=True, text=True, check=False)
    known = listed.stdout.split()[2:]  # behind "Available CPUs:"
    if exact and cpu not in known:
        raise unknown("processor", cpu, known, " for qemu")
    return [program, "-cpu", cpu if cpu in known else "max"]
