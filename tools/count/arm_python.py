"""An AArch64 Python that runs under qemu-user, with PyPI's AArch64 wheels: fetched once, kept in the cache.

Debian's own arm64 packages are unpacked, not installed: apt-get works on lists and archives of its own here,
so this needs no root and changes nothing of the system.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import EspalierError
from ...files import cache_folder

VERSION = "3.11"  # the one in Debian 12
_PACKAGES = (f"python{VERSION}-minimal", f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib", "libc6",
             "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libexpat1", "libffi8")
_SOURCE = ("deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
           "http://deb.debian.org/debian bookworm main")
# Engines choose kernels by the core that they find here. QEMU shows a guest the files under its root in place
# of the machine's own, which tell of another architecture.
_CPUINFO = """processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 0
"""
CPU = "cortex-a76"  # what _CPUINFO describes


def interpreter() -> tuple[Path, Path]:
    """The Python program, and the root folder that QEMU is to show it (``-L``)."""
    holds = hashlib.sha256("".join([_SOURCE, _CPUINFO, *_PACKAGES]).encode()).hexdigest()[:8]
    root = cache_folder("count") / f"debian12-python{VERSION}-arm64-{holds}"
    if not root.exists():
        _fill(root, _unpack_debian)
    return root / "usr" / "bin" / f"python{VERSION}", root


def wheel(requirement: str) -> Path:
    """The folder of the AArch64 wheel ``requirement`` (``name`` or ``name==version``), for PYTHONPATH."""
    folder = cache_folder("count", f"python{VERSION}-arm64-wheels") / requirement
    if not folder.exists():
        _fill(folder, lambda into: _unpack_wheel(requirement, into))
    return folder


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes ``folder`` by ``fill``, whole or not at all; another process may do the same at the same time."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        fill(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _unpack_debian(root: Path) -> None:
    apt = root.with_name("apt")
    for name in ("lists/partial", "archives/partial", "packages"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(_SOURCE + "\n")
    settings = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "",
                "Dir::State": apt, "Dir::State::status": "/dev/null", "Dir::Cache": apt,
                "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": "/dev/null"}
    get = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    what = "an AArch64 Python from Debian"
    _fetch([*get, "update", "--error-on=any"], what)
    _fetch([*get, "download", *_PACKAGES], what, apt / "packages")
    for package in sorted((apt / "packages").iterdir()):
        _fetch(["dpkg-deb", "-x", str(package), str(root)], what)
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(_CPUINFO)


def _unpack_wheel(requirement: str, folder: Path) -> None:
    platforms = [f"--platform={name}_aarch64" for name in (
        "manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_27", "manylinux_2_28")]
    _fetch([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
            "--only-binary=:all:", f"--python-version={VERSION}", *platforms, f"--target={folder}",
            requirement], f"the AArch64 wheel of {requirement}")


def _fetch(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Runs ``command``, a step to get ``what``, in ``folder``."""
    if shutil.which(command[0]) is None:
        raise EspalierError(f"fetching {what} needs {command[0]} (as Debian and Ubuntu have it)")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "ERROR:"))]
        reason = (lines or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EspalierError(f"cannot fetch {what} (once per user, over the network): {reason}")
