"""``espalier run --device``: this machine, qemu, a fake adb, a loopback ssh server; and ways to lose them."""

from __future__ import annotations

import getpass
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.programs import lacking
from espalier.runtime.devices import find_device, run_on
from espalier.runtime.model_file import ModelFile
from support.command_line import CommandLine, one_line
from support.fake_model import X, affine, affine_file, build_runner, needs_gcc, sums_file

HERE = {"name": "here", "triple": f"{platform.machine()}-linux-gnu", "cpu": "fake-a1"}
ARM = {"name": "neon", "triple": "aarch64-linux-gnu", "cpu": "cortex-a76"}
SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)


@pytest.fixture
def espalier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The affine model's runner for this machine."""
    return build_runner(tmp_path_factory.mktemp("runner") / "runner", "-O1").read_bytes()


@pytest.fixture
def model(native: bytes, tmp_path: Path) -> Path:
    affine_file(runner=native, target=HERE).write(tmp_path / "m")
    np.save(tmp_path / "x.npy", 2 * X)
    return tmp_path / "m"


def script(*lines: str) -> ModelFile:
    """A model file whose runner is a shell script."""
    return affine_file(runner="\n".join(("#!/bin/sh", *lines, "")).encode(), target=HERE)


def on_local(file: ModelFile, path: Path, **options: Any) -> None:
    file.write(path)
    run_on(find_device("local", file), path, file, **options)


def works(espalier: CommandLine, model: Path, device: str) -> None:
    """Checks, runs with files, and times, on any device."""
    folder = model.parent
    files = ("--input", folder / "x.npy", "--output", folder / "y.npy", "--output", folder / "z.npy")
    result = espalier("run", model, "--device", device, "--check", *files, "--threads", "2", "--repeat", "3")
    assert result.code == 0, result.err
    assert "check passed: max abs error 0.0e+00 of the largest output" in result.out
    assert "y: float32[2, 3], min " in result.out
    assert f"median of 3), 2 threads on {device}" in result.out
    assert np.array_equal(np.load(folder / "y.npy"), affine(2 * X)[0])
    assert np.array_equal(np.load(folder / "z.npy"), affine(2 * X)[1])


def refuses_differences(espalier: CommandLine, native: bytes, folder: Path, device: str) -> None:
    affine_file([affine(X)[0] + 1, affine(X)[1]], native, HERE).write(folder / "differs")
    result = espalier("run", folder / "differs", "--device", device, "--check")
    assert one_line(result, device, "the outputs differ from the recorded ones by 2.4e-02 of the")


# -- this machine


@needs_gcc
def test_local(espalier: CommandLine, native: bytes, model: Path) -> None:
    works(espalier, model, "local")
    refuses_differences(espalier, native, model.parent, "local")


@needs_gcc
def test_profile(espalier: CommandLine, tmp_path: Path) -> None:
    runner = build_runner(tmp_path / "runner", "-O1", "-DAFFINE_STAMPS=4").read_bytes()
    file = affine_file(runner=runner, target=HERE)
    labels = ["start", "[conv]", "sum", "[conv]"]  # a layer of two statements
    sizes = {**file.manifest["sizes"], "stamps": 4}
    replace(file, manifest={**file.manifest, "labels": labels, "sizes": sizes}).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "local", "--check", "--profile")
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines()[2:] if line.strip()]
    assert [row[0] for row in rows] == ["layer", "─" * len(rows[1][0]), "[conv]", "sum"]
    assert one_line(espalier("run", tmp_path / "m", "--check", "--profile"), "--profile needs --device")


def test_another_machines_model(espalier: CommandLine, tmp_path: Path) -> None:
    target = {"name": "other", "triple": "vax-linux-gnu", "cpu": "ka-43"}
    affine_file(runner=b"program", target=target).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "local", "--check")
    assert one_line(result, f"the model is for vax-linux-gnu, this machine is {platform.machine()}; give")


def test_no_device(espalier: CommandLine, tmp_path: Path) -> None:
    affine_file(runner=b"program", target=ARM).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--check")
    assert one_line(result, "the model was compiled ahead of time for aarch64-linux-gnu cortex-a76, this "
                    f"machine is {platform.machine()}; use: espalier run FILE --device DEVICE (qemu, ")


def test_a_model_without_a_runner(espalier: CommandLine, tmp_path: Path) -> None:
    affine_file(target={"name": "avx2"}).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "qemu", "--check")
    assert one_line(result, "m' is compiled for this machine (avx2)", "compile it with --target")


@pytest.mark.parametrize("name", ["", "adb", "adb:", "ssh:", "qemu:", "local:x", "gdb:1"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(EspalierError, match=f"unknown device '{name}': expected qemu, qemu:CPU, adb:SERIAL,"):
        find_device(name, affine_file())


@pytest.mark.parametrize(("lines", "message"), [
    (["echo 'runner: no such thing' >&2", "exit 1"], "local: no such thing"),
    (["exit 3"], "local: exit code 3"),
    (["kill -ILL $$"], "local: signal SIGILL ended the program: it lacks an instruction"),
    (["kill -SEGV $$"], "local: signal SIGSEGV ended the program"),
    (["true"], "local: the program's report is incomplete"),
    (["echo '{\"median_ms\": 1}'"], "local: the program's report is incomplete"),
])
def test_runners_that_fail(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        on_local(script(*lines), tmp_path / "m")


def test_a_runner_that_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match="local: the program does not start: Exec format error"):
        on_local(affine_file(runner=b"\x7fELF", target=HERE), tmp_path / "m")


def test_options_that_do_not_fit(espalier: CommandLine, tmp_path: Path) -> None:
    script("exit 0").write(tmp_path / "m")
    np.save(tmp_path / "x.npy", X)
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    local = ("run", tmp_path / "m", "--device", "local")
    assert one_line(espalier(*local, *files), "has 2 outputs, found 1 --output files")
    assert one_line(espalier(*local), "nothing to do")
    assert one_line(espalier("run", tmp_path / "absent", "--device", "local", "--check"), "cannot read")


@pytest.mark.parametrize(("file", "inputs", "message"), [
    (affine_file(), [X[:, :2]], "input 'x': expected 2x3 float32, found 2x2 float32"),
    (affine_file(), [X.astype(np.float64)], "input 'x': expected 2x3 float32, found 2x3 float64"),
    (affine_file(), [X, X], "expected 1 inputs, found 2"),
    (sums_file(3), [np.zeros((0, 2), np.float32), np.zeros(2, np.float32)],
     "expected at least one time step, found a sequence of length 0"),
    (sums_file(3), [np.zeros((7, 2), np.float32), np.zeros(3, np.float32)],
     "input 'start': expected 2 float32, found 3 float32"),
])
def test_inputs_are_checked_before_the_device_is_asked(file: ModelFile, inputs: list[np.ndarray],
                                                       message: str, tmp_path: Path) -> None:
    file = replace(file, runner=b"program")
    with pytest.raises(EspalierError, match=message):
        run_on(find_device("adb:R58", file), tmp_path / "m", file, inputs)


# -- qemu


ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl")
ARM_COMPILER = (ZIG if importlib.util.find_spec("ziglang")  # a gcc may lack the target's libc
                else ("aarch64-linux-gnu-gcc",) if shutil.which("aarch64-linux-gnu-gcc") else None)

needs_qemu = pytest.mark.skipif(bool(lacking("qemu-aarch64")), reason=lacking("qemu-aarch64"))
needs_arm = pytest.mark.skipif(ARM_COMPILER is None, reason="needs aarch64-linux-gnu-gcc or ziglang")


@pytest.mark.slow
@needs_qemu
@needs_arm
def test_qemu(espalier: CommandLine, tmp_path: Path) -> None:
    assert ARM_COMPILER is not None
    runner = build_runner(tmp_path / "runner", "-O1", "-static", compiler=ARM_COMPILER)
    affine_file(runner=runner.read_bytes(), target=ARM).write(tmp_path / "m")
    np.save(tmp_path / "x.npy", 2 * X)
    works(espalier, tmp_path / "m", "qemu")
    works(espalier, tmp_path / "m", "qemu:cortex-a53")


@needs_qemu
def test_unknown_processor(espalier: CommandLine, tmp_path: Path) -> None:
    affine_file(runner=b"program", target=ARM).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "qemu:cortex-b1", "--check")
    assert one_line(result, "unknown processor 'cortex-b1' for qemu: did you mean", "known are", "cortex-a76")


def test_qemu_is_missing(espalier: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    affine_file(runner=b"program", target=ARM).write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "qemu", "--check")
    assert one_line(result, "needs qemu-aarch64 4.2 or newer (Debian: qemu-user)")


# -- adb: a script in its place, with a folder as the phone


@needs_gcc
def test_adb(espalier: CommandLine, native: bytes, model: Path, phone: Path) -> None:
    works(espalier, model, "adb:R58")
    refuses_differences(espalier, native, model.parent, "adb:R58")
    assert not list(phone.iterdir()), "the folder on the phone is gone"


def test_adb_knows_no_such_device(espalier: CommandLine, tmp_path: Path, phone: Path) -> None:
    script("exit 0").write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "adb:S99", "--check")
    assert one_line(result, "adb:S99: cannot be reached: adb: device 'S99' not found")


@pytest.mark.parametrize(("mode", "message"), [
    ("shell", "adb:R58: lost while the program ran: error: device offline"),
    ("push", "adb:R58: a file was not copied: adb: error: failed to copy: remote write failed: No space"),
    ("pull", "adb:R58: a file was not copied"),
])
def test_adb_drops(espalier: CommandLine, tmp_path: Path, phone: Path, mode: str, message: str) -> None:
    script("echo '{\"median_ms\": 1, \"min_ms\": 1, \"max_ms\": 1, \"runs\": 1}'").write(tmp_path / "m")
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "mode").write_text(mode)  # nothing was written for pull to find
    result = espalier("run", tmp_path / "m", "--device", "adb:R58", "--input", tmp_path / "x.npy", "--output",
                 tmp_path / "y.npy", "--output", tmp_path / "z.npy")
    assert one_line(result, message)
    assert not (tmp_path / "y.npy").exists()


def test_folders_that_cannot_be_made(tmp_path: Path, phone: Path) -> None:
    phone.rmdir()
    file = script("exit 0")
    file.write(tmp_path / "m")
    with pytest.raises(EspalierError, match=r"adb:R58: 'mktemp -d .*' failed: .*No such file"):
        run_on(find_device("adb:R58", file), tmp_path / "m", file)


def test_adb_is_missing(espalier: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script("exit 0").write(tmp_path / "m")
    result = espalier("run", tmp_path / "m", "--device", "adb:R58", "--check")
    assert one_line(result, "needs adb 1.0 or newer")


# -- ssh: a server on the loopback interface, with keys of its own


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    device: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs sshd, ssh and ssh-keygen (openssh-server)")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PidFile none
""")
    (folder / "client").write_text(f"""
IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known
StrictHostKeyChecking accept-new
LogLevel ERROR
""")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it, for root
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    device = f"ssh:{getpass.getuser()}@127.0.0.1:{port}"
    try:
        probe = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectionAttempts=20", f"ssh://{device[4:]}", "true"]
        found = subprocess.run(probe, capture_output=True, text=True)
        if found.returncode != 0:
            pytest.skip(f"sshd does not serve here: {(folder / 'log').read_text()[-300:]} {found.stderr}")
        yield Server(process, device)
    finally:
        process.kill()
        process.wait()


@needs_gcc
def test_ssh(espalier: CommandLine, native: bytes, model: Path, server: Server) -> None:
    works(espalier, model, server.device)
    refuses_differences(espalier, native, model.parent, server.device)


def test_ssh_drops(espalier: CommandLine, tmp_path: Path, server: Server) -> None:
    """The server's session ends while the program sleeps."""
    script(f"echo $PPID > {tmp_path}/running", "exec sleep 600").write(tmp_path / "m")

    def drop() -> None:
        while not (tmp_path / "running").exists() or not (tmp_path / "running").read_text():
            time.sleep(0.05)
        os.kill(_session_of(int((tmp_path / "running").read_text())), signal.SIGKILL)

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    result = espalier("run", tmp_path / "m", "--device", server.device, "--check")
    assert one_line(result, f"{server.device}: lost while the program ran: ", "closed")


def _session_of(process: int) -> int:
    """The sshd that serves ``process``."""
    while Path(f"/proc/{process}/comm").read_text().strip() not in ("sshd", "sshd-session"):
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def test_ssh_finds_nobody(espalier: CommandLine, tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh")
    script("exit 0").write(tmp_path / "m")
    device = f"ssh:127.0.0.1:{free_port()}"
    result = espalier("run", tmp_path / "m", "--device", device, "--check")
    assert one_line(result, f"{device}: cannot be reached: ", "refused")


def test_ssh_takes_no_option_for_a_host(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh")
    file = script("exit 0")
    file.write(tmp_path / "m")
    device = find_device(f"ssh:-oProxyCommand=touch {tmp_path}/owned", file)
    with pytest.raises(EspalierError, match="cannot be reached"):
        run_on(device, tmp_path / "m", file)
    assert not (tmp_path / "owned").exists()
