"""Makes a virtual environment with pip: ``python3 tools/make_env.py FOLDER``; needs nothing but Python.

Debian's python3 comes without ensurepip (that is python3-venv), so ``python3 -m venv`` alone fails on a fresh
machine; then a pinned pip is fetched and its checksum compared.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

PIP = "pip-26.3-py3-none-any.whl"
SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
URL = f"https://files.pythonhosted.org/packages/07/25/ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/{PIP}"


def make(folder: Path, *, bundled: bool) -> None:
    """Makes the environment; with ``bundled``, from the pip that Python brings along."""
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    if bundled:
        subprocess.run(command, check=True)
        return
    subprocess.run([*command, "--without-pip"], check=True)
    with urllib.request.urlopen(URL, timeout=60) as response:
        wheel = response.read()
    if hashlib.sha256(wheel).hexdigest() != SHA256:
        raise SystemExit(f"make_env: {URL} does not have the expected checksum")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / PIP
        path.write_bytes(wheel)
        python = folder / "bin" / "python"
        subprocess.run([python, f"{path}/pip", "install", "--no-index", str(path)], check=True)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs before pip could tell
        raise SystemExit(f"make_env: Espalier needs Python 3.11 or newer, found {sys.version.split()[0]}")
    make(Path(sys.argv[1]), bundled=importlib.util.find_spec("ensurepip") is not None)
