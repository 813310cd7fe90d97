"""docs/hosts.md does what it says: its files are written, its commands and scripts run, in their order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import espalier
import pytest

PAGE = (Path(espalier.__file__).parent / "docs" / "hosts.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")}
NEEDED = {"TVM-FFI: numpy, PyTorch and TVM's Relax": ("llvmlite", "ziglang", "tvm_ffi", "tvm"),
          "ExecuTorch": ("llvmlite", "ziglang", "executorch.exir")}


def test_every_section_is_run() -> None:
    assert list(SECTIONS)[1:] == list(NEEDED)


@pytest.mark.slow
@pytest.mark.parametrize("section", NEEDED)
def test_section(section: str, tmp_path: Path) -> None:
    for package in NEEDED[section]:
        pytest.importorskip(package, reason=f"{package} is not installed (extras aot and hosts)")
    introduction = next(iter(SECTIONS.values()))
    blocks = re.findall(r"```(python|sh)\n(.*?)```", introduction + SECTIONS[section], re.DOTALL)
    assert len(blocks) > 1
    for number, (language, text) in enumerate(blocks):
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                assert line.startswith("espalier ")
                run("-m", "espalier.tools.espalier", *line.split()[1:], folder=tmp_path)
            continue
        named = re.match(r"# (\w+\.py)\n", text)
        script = tmp_path / (named[1] if named else f"block_{number}.py")
        script.write_text(text)
        if not named:
            run(script.name, folder=tmp_path)


def run(*arguments: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
