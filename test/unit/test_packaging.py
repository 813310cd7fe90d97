"""The package: one name for each module, layers that import only what is below them, a core without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import espalier
import pytest

ROOT = Path(espalier.__file__).parent
FOLDERS = ("sparse_dialect", "pipelines", "frontends", "runtime", "tools")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
# Architecture page, section 2: what each folder may import of ours;
# the compiler ends in the file that the runtime reads.
MAY_IMPORT = {
    "sparse_dialect": set(), "pipelines": {"sparse_dialect", "runtime"}, "runtime": set(),
    "frontends": {"sparse_dialect", "pipelines", "runtime"}, "tools": set(FOLDERS),
}
BINDINGS = "espalier.sparse_dialect.ir.mlir"  # all of the compiler that the JIT executor may import


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("espalier", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path: Path) -> set[str]:
    """The absolute names of everything that the module imports, relative imports resolved."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            found |= {f"{base}{name}" for name in [node.module or ""] if name}
            found |= {f"{base}{alias.name}" for alias in node.names if not node.module}
    return found


@pytest.mark.slow
def test_no_module_has_two_names() -> None:
    """The dialect would register twice; that the bindings find it as theirs makes no second module."""
    result = python("""
import importlib, pkgutil, sys, espalier
from espalier.errors import EXTRAS
sys.argv = ["test"]
for module in pkgutil.walk_packages(espalier.__path__, "espalier."):
    ours = {"sparse_dialect", "pipelines", "frontends", "runtime", "tools", "entry", "errors", "files"}
    if module.name.split(".")[1] in ours and not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in EXTRAS:
                raise
files = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and file.startswith(espalier.__path__[0]) and "site-packages" not in file and name != "__main__":
        assert files.setdefault(file, module) is module, (file, name, files[file])
        assert module.__name__.split(".")[0] == "espalier", name
print(len(files))
""")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) > 30


def test_core_imports_without_torch() -> None:
    result = python("""
import importlib, pkgutil, sys, espalier
sys.modules["torch"] = sys.modules["torch_mlir.fx"] = None
for folder in ("sparse_dialect", "pipelines", "runtime"):
    package = importlib.import_module(f"espalier.{folder}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import espalier.tools.espalier
import espalier.frontends
""")
    assert result.returncode == 0, result.stderr


def test_layers() -> None:
    wrong = {name_of(path): why for path in MODULES if (why := why_not_layered(path))}
    assert not wrong


def why_not_layered(path: Path) -> str:
    """What a module imports that it may not; empty where all is well."""
    folder = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("espalier.") and "." in name}
    if name_of(path) == "espalier.runtime.executors.jit":
        if {name for name in imports(path) if name.startswith("espalier.sparse_dialect")} != {BINDINGS}:
            return "of sparse_dialect the bindings alone"
        ours.remove("sparse_dialect")
    if others := ours & set(FOLDERS) - MAY_IMPORT[folder] - {folder}:
        return f"not {', '.join(sorted(others))}"
    top = {name.split(".")[0] for name in imports(path)}
    if "espalier" in _absolute(path):
        return "imports inside the package are relative"
    if (folder != "sparse_dialect" or path.name != "mlir.py") and "mlir" in top:
        return "not mlir"
    # the runtime answers tensors with tensors, if asked
    return "not torch" if folder in ("sparse_dialect", "pipelines") and "torch" in top else ""


def _absolute(path: Path) -> set[str]:
    return {alias.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import) for alias in node.names} | {
        (node.module or "").split(".")[0] for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level}


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in MODULES
              if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_demo_parts(tmp_path: Path) -> None:
    from espalier.tools.picture import draw, normalised, png

    picture = draw(60, 40)
    assert picture.shape == (60, 40, 3)
    assert (picture == draw(60, 40)).all()
    assert normalised(picture).shape == (1, 3, 60, 40)
    assert abs(normalised(draw()).mean()) < 1  # about as bright as photographs are
    assert png(picture).startswith(b"\x89PNG")
