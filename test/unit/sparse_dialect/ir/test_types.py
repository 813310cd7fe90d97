"""mypy sees real types behind ``ir``, not Any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import espalier
import pytest

USER = """
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.ir.walk import blocks
reveal_type(ir.Module.create().operation.attributes)
blocks("module")
ir.Module.create().bodi
"""


@pytest.mark.slow
def test_mypy_knows_operations_and_values(tmp_path: Path) -> None:
    (tmp_path / "espalier").symlink_to(Path(espalier.__file__).parent)
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(tmp_path)},
                          capture_output=True, text=True)
    assert 'Revealed type is "espalier.sparse_dialect.ir.mlir_ir.OpAttributeMap"' in done.stdout
    assert 'Argument 1 to "blocks" has incompatible type "str"; expected "Operation"' in done.stdout
    assert 'Module has no attribute "bodi"' in done.stdout
