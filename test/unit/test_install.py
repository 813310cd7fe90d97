"""The sdist and the wheel built from it: installed without PyTorch, they compile and run ``.mlir`` files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import espalier
import numpy as np
import pytest

pytestmark = pytest.mark.slow  # fetches the bindings and builds twice: about a minute

ROOT = Path(espalier.__file__).parent
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ESPALIER"))}
USER = """
import espalier
reveal_type(espalier.load("x"))
reveal_type(espalier.compile("x.mlir"))
reveal_type(espalier.CompiledModel)
"""


def call(*command: str | Path, folder: Path, expected: int = 0) -> str:
    """What ``command`` prints, run outside of the checkout with none of its settings."""
    done = subprocess.run(list(map(str, command)), cwd=folder, env=CLEAN, capture_output=True, text=True)
    assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment ``env`` that holds what the build needs of pip."""
    folder = tmp_path_factory.mktemp("install")
    call(sys.executable, "-m", "venv", folder / "env", folder=folder)
    done = subprocess.run([folder / "env/bin/pip", "install", "-q", "setuptools>=77"], env=CLEAN,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot fetch packages here: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def sdist(folder: Path) -> Path:
    """The source distribution of the files that git knows."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout, to tell the project's files from others")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in filter(None, names.stdout.split("\0")):
        target = folder / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(folder / 'dist')!r})"
    call(folder / "env/bin/python", "-c", script, folder=folder / "tree")
    (made,) = (folder / "dist").glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(folder: Path, sdist: Path) -> Path:
    """The wheel that pip builds from the source distribution, in its own isolated environment."""
    call(folder / "env/bin/pip", "wheel", "-q", "--no-deps", "-w", folder / "dist", sdist, folder=folder)
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(folder: Path, wheel: Path) -> Path:
    """The programs of an environment that holds the wheel and what it depends on, without extras."""
    call(folder / "env/bin/pip", "install", "-q", wheel, folder=folder)
    return folder / "env/bin"


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert {"espalier/py.typed", "espalier/sparse_dialect/sparse.irdl.mlir", "espalier/runtime/c/espalier.h",
            "espalier/runtime/c/CMakeLists.txt", "espalier/tools/report/report.html"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("espalier/test", "test"))]
    assert "License-Expression: Apache-2.0 WITH LLVM-exception" in metadata


def test_commands_on_an_mlir_file(installed: Path, folder: Path) -> None:
    network = (ROOT / "test/integration/sparse-to-llvm.mlir").read_text()
    (folder / "x.mlir").write_text(network)
    espalier = installed / "espalier"
    call(installed / "python", "-c", "import importlib.util as u; assert not u.find_spec('torch')",
         folder=folder)
    assert "2 layers" in call(espalier, "compile", "x.mlir", "-o", "x.espalier", folder=folder)
    assert "conv1" in call(espalier, "inspect", "x.espalier", folder=folder)
    assert "conv1" in call(espalier, "report", "x.mlir", "--runs", "1", "--html", "x.html", folder=folder)
    np.save(folder / "x.npy", np.ones((1, 2, 4, 4), np.float32))
    call(espalier, "run", "x.espalier", "--input", "x.npy", "--output", "y.npy", folder=folder)
    assert np.load(folder / "y.npy").shape == (3, 4)
    assert "no PyTorch model" in call(espalier, "bench", "x.mlir", "--runs", "1", "--threads", "1",
                                      folder=folder)
    assert "sparse.packed_conv" in call(installed / "espalier-opt", "x.mlir", "--sparse-prepare",
                                        folder=folder)


@pytest.mark.parametrize("arguments", [
    ("compile", "resnet18", "-o", "y"), ("report", "resnet18"), ("bench", "gru"), ("blocksize", "resnet18"),
    ("compile", "mine.py:net", "-o", "y"), ("compile", "mine.pt2", "-o", "y")])
def test_what_needs_torch_says_so(installed: Path, folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "mine.py").touch()
    (folder / "mine.pt2").touch()
    lines = call(installed / "espalier", *arguments, folder=folder, expected=1).splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("needs the package torch: pip install 'espalier-compiler[torch]'")


def test_types_reach_a_user(installed: Path, folder: Path) -> None:
    """mypy, told to look into the environment, sees our types instead of Any."""
    (folder / "user.py").write_text(USER)
    shown = call(sys.executable, "-m", "mypy", "--python-executable", installed / "python", "user.py",
                 folder=folder)
    assert shown.count('"espalier.runtime.compiled_model.CompiledModel"') == 2
    assert "Any" not in shown
