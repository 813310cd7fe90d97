"""A script in the place of ``adb``, with a folder as the phone ``R58``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Without site-packages and what is not needed each time: a judge calls it dozens of times.
FAKE_ADB = """#!{python} -IS
import subprocess, sys
if sys.argv[1:] == ["version"]:
    sys.exit(print("Android Debug Bridge version 1.0.41"))
root, mode = {root!r}, open({root!r} + "/mode").read()
assert sys.argv[1] == "-s"
serial, verb, arguments = sys.argv[2], sys.argv[3], sys.argv[4:]
if serial != "R58":
    sys.exit(f"adb: device '{{serial}}' not found")
if mode == "hang":
    import time
    time.sleep(60)
arguments = [a.replace("/data/local/tmp", root + "/phone") for a in arguments]
if verb == mode:
    if verb == "push":
        sys.exit("adb: error: failed to copy: remote write failed: No space left on device")
    if "./runner" in arguments[0]:
        sys.exit("error: device offline")
if verb in ("push", "pull"):
    import shutil
    shutil.copyfile(*arguments)
    print(arguments[0], ": 1 file copied, 0 skipped. 3.1 MB/s")
else:
    done = subprocess.run(["sh", "-c", arguments[0]], capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    sys.stdout.write(done.stdout.replace(root + "/phone", "/data/local/tmp").replace("\\n", "\\r\\n"))
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the fake phone's folder holds; ``mode`` beside it names the verb that fails, or is ``hang``."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "phone").mkdir()
    (tmp_path / "mode").write_text("none")
    adb = tmp_path / "bin" / "adb"
    adb.write_text(FAKE_ADB.format(python=sys.executable, root=str(tmp_path)))
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{adb.parent}:{os.environ['PATH']}")
    return tmp_path / "phone"
