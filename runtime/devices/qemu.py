"""``qemu`` or ``qemu:CPU``: this machine, emulating the target's processor with qemu-user.

Outputs are those of the real processor, times are not.
"""

from __future__ import annotations

import shutil
import subprocess

from ...errors import EspalierError
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
        program = f"qemu-{self._triple.partition('-')[0]}"
        if shutil.which(program) is None:
            raise EspalierError(f"{self.name}: needs {program} (Debian: apt-get install qemu-user)")
        listed = subprocess.run([program, "-cpu", "help"], capture_output=True, text=True, check=False)
        known = listed.stdout.split()[2:]  # behind "Available CPUs:"
        if self._exact and self._cpu not in known:
            raise EspalierError(f"{self.name}: unknown processor '{self._cpu}': known are {', '.join(known)}")
        return [program, "-cpu", self._cpu if self._cpu in known else "max"]
