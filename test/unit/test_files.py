"""Temporary files and folders: those of killed processes go, those in use stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.files import check_apart, check_readable, check_writable, replacing, temporary_folder
from espalier.runtime.model_file import ModelFile
from espalier.runtime.trust import ANY_FILE, Trust

WRITER = """
import sys, time
from espalier.files import replacing, temporary_folder
with temporary_folder("espalier-test-") as folder, replacing(sys.argv[1]) as file:
    (folder / "object.o").write_bytes(b"x")
    file.write(b"half"); file.flush()
    print("ready", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, of this test alone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_left_goes(tmp_path: Path, temporary: Path) -> None:
    target = tmp_path / "m"
    process = writer(target)
    try:
        with replacing(target) as file, temporary_folder("espalier-test-"):
            file.write(b"whole")
            assert len(list(tmp_path.glob(".m.espalier-*.tmp"))) == 2  # the other one is in use
            assert len(list(temporary.iterdir())) == 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.glob(".m.espalier-*.tmp"))) == 1  # half-written, and nobody's
    with replacing(target) as file, temporary_folder("espalier-test-"):
        file.write(b"again")
    assert target.read_bytes() == b"again"
    assert not list(tmp_path.glob(".m.*"))
    assert not list(temporary.iterdir())


def test_other_files_stay(tmp_path: Path, temporary: Path) -> None:
    """Names that only look alike, of files that nobody has locked, and links."""
    names = (".m.backup.tmp", ".m.espalier-abc.tmp", ".m.espalier-ABCDEFGH.tmp", ".mm.espalier-abcdefgh.tmp")
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".m.espalier-abcdefgh.tmp").symlink_to(tmp_path / "elsewhere")
    (temporary / "espalier-test-notes").mkdir()
    with replacing(tmp_path / "m") as file, temporary_folder("espalier-test-"):
        file.write(b"x")
    assert all((tmp_path / name).exists() for name in names)
    assert (tmp_path / ".m.espalier-abcdefgh.tmp").is_symlink()
    assert (temporary / "espalier-test-notes").is_dir()


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(EspalierError, match=r"cannot make a temporary folder: .*set TMPDIR to a folder"), \
            temporary_folder("espalier-test-"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(EspalierError, match="cannot write"), replacing(tmp_path / "m"):
        pass


@pytest.mark.parametrize("trust", [ANY_FILE, Trust("0" * 64)])
def test_what_has_no_end_is_not_read(tmp_path: Path, trust: Trust) -> None:
    """A pipe would wait for a writer for ever, a device would fill the memory."""
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(EspalierError, match=f"cannot read '{path}': expected a file, found a pipe or a"):
            ModelFile.read(path, trust=trust)
    (tmp_path / "file").touch()
    check_readable(tmp_path / "file")
    check_readable(tmp_path / "missing")  # whoever opens it says so


def test_what_is_read_is_not_written(tmp_path: Path) -> None:
    """A command's own source survives ``-o net.py``, by whatever name."""
    source, link = tmp_path / "net.py", tmp_path / "link.py"
    source.write_text("...")
    link.symlink_to(source)
    for read in (source, link, f"{source}:function"):
        with pytest.raises(EspalierError, match="it is what is read; name another file"):
            check_writable(source, None, "", read)
    check_writable(tmp_path / "new.py", source, f"{source}:function")
    check_writable(source, tmp_path / "other.py", "vgg16")


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    """The last one would win, without a word."""
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "one.json")
    for other in (tmp_path / "one.json", f"{tmp_path}/../{tmp_path.name}/one.json", link):
        with pytest.raises(EspalierError, match="two outputs are to be this file; name another"):
            check_apart(tmp_path / "one.json", None, other)
    check_apart(tmp_path / "one.json", tmp_path / "two.json", None, None, "/dev/null", "/dev/null")
