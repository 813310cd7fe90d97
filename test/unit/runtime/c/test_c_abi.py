"""The C runtime under sanitizers: every call, right and wrong, and every damaged file.

``c/test_abi.c`` holds the cases, ``c/fuzz_loader.c`` the damage; the models are written by hand
(``c/fake_model.c``).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from espalier import entry
from espalier.runtime import abi
from espalier.runtime.c import HEADER, INCLUDE, RUNNER, SOURCES, VULKAN_SOURCES
from espalier.runtime.compiled_model import error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.fake_model import (
    FOLDER,
    SANITIZER_OPTIONS,
    SANITIZERS,
    WARNINGS,
    WEIGHTS,
    X,
    affine,
    affine_file,
    build,
    needs_gcc,
    replay_file,
    running_file,
    sums_file,
)
from support.tiers import examples

pytestmark = needs_gcc
WRAPPED = ("malloc", "calloc", "realloc", "posix_memalign", "sem_init", "pthread_mutex_lock",
           "pthread_create")


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **SANITIZER_OPTIONS})


def build_cases(program: Path, *flags: str) -> Path:
    wraps = ",".join(f"--wrap={name}" for name in WRAPPED)
    return build(program, [FOLDER / "test_abi.c"], f"-Wl,{wraps}", *flags)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cases(tmp_path_factory.mktemp("c") / "test_abi", *SANITIZERS)


def whole(path: Path) -> None:
    affine_file().write(path)


def recorded(change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """A file whose recorded first output is changed."""
    def write(path: Path) -> None:
        outputs = affine(X)
        change(outputs[0])
        affine_file(outputs).write(path)

    return write


def misfit(path: Path) -> None:
    affine_file(affine(X)[::-1]).write(path)


def other_size(path: Path) -> None:
    affine_file([np.zeros((3, 2), np.float32), affine(X)[1]]).write(path)


def unrecorded(path: Path) -> None:
    replace(affine_file(), sample_inputs=[], sample_outputs=[]).write(path)


def patched(member: str, at: int, value: int, checksum: bool) -> Callable[[Path], None]:
    """A file with one byte of a member changed; the checksum is put right, or not."""
    def write(path: Path) -> None:
        whole(path)
        with zipfile.ZipFile(path) as archive:
            data = archive.read(member)
        changed = bytearray(data)
        changed[at] = value
        content = path.read_bytes().replace(data, bytes(changed))
        if checksum:
            content = content.replace(_crc(data), _crc(changed))
        path.write_bytes(content)

    return write


def _crc(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def archive_without_abi(path: Path) -> None:
    """Aligned as a model file, and yet none."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x" * 34, "text")


FILES: dict[str, Callable[[Path], object]] = {
    "check_differs": recorded(lambda y: y.__setitem__((0, 0), y[0, 0] + 0.5)),
    "check_not_a_number": recorded(lambda y: y.__setitem__((1, 1), np.nan)),
    "check_misfit": misfit, "check_other_size": other_size,
    "no_record": unrecorded, "missing": lambda path: None,
    "foreign": lambda path: path.write_bytes(b"\x7fELF" * 100), "empty": lambda path: path.touch(),
    "no_member": archive_without_abi, "flipped_weights": patched("weights", 3, 1, checksum=False),
    "too_few_weights": lambda path: replace(affine_file(), weights=WEIGHTS[:5]).write(path),
    "other_weights": patched("weights", 3, 1, checksum=True),
    "newer": patched("abi", 4, 7, checksum=True),
    "replay": replay_file(WEIGHTS, WEIGHTS).write,
    **{name: sums_file(5).write for name in ("free_length", "wrong_lengths", "free_check")},
    **{name: running_file().write for name in ("states", "failed_states", "set_states", "check_states")},
    "parts": replace(running_file(), weights=WEIGHTS, variants=[affine_file()]).write,
    "check_other_states": running_file((1, 2.5)).write, "no_state": replace(running_file(), states=[]).write,
}
CASES = re.findall(r"CASE\((\w+)\)[,}]", (FOLDER / "test_abi.c").read_text())


@pytest.mark.parametrize("case", CASES)
def test_case(cases: Path, tmp_path: Path, case: str) -> None:
    FILES.get(case, whole)(tmp_path / "m")
    result = run(cases, case, tmp_path / "m")
    assert result.returncode == 0, result.stderr


def test_cases_are_all_of_them() -> None:
    defined = re.findall(r"static void case_(\w+)\(", (FOLDER / "test_abi.c").read_text())
    assert defined == CASES
    assert set(FILES) <= set(CASES)


def test_an_expectation_can_fail(cases: Path, tmp_path: Path) -> None:
    unrecorded(tmp_path / "m")
    result = run(cases, "check", tmp_path / "m")
    assert result.returncode == 1
    assert "espalier_check(model, &error)) == ESPALIER_OK; last: the model file holds no" in result.stderr


SPECIAL = st.sampled_from((0.0, 1.0, -1.0, 1.0001, np.inf, -np.inf, np.nan))


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_the_check_is_the_hosts(cases: Path, tmp_path_factory: pytest.TempPathFactory,
                                data: st.DataObject) -> None:
    """Every dtype, infinities and NaNs: the error is the one that ``CompiledModel.check`` finds."""
    dtype, length = np.dtype(data.draw(st.sampled_from(sorted(abi.DTYPES)))), data.draw(st.integers(1, 5))
    values = arrays.from_dtype(dtype) | SPECIAL if dtype.kind == "f" else arrays.from_dtype(dtype)
    expected, found = (data.draw(arrays.arrays(dtype, length, elements=values)) for _ in range(2))
    path = tmp_path_factory.mktemp("replay") / "m"
    replay_file(expected, found).write(path)
    result = run(cases, "replay", path)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(
        error_of(found.astype(np.float64), expected.astype(np.float64)), rel=1e-12)


def test_members_above_four_gib(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The format that such members take, forced upon a small file."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 22)  # the weights have 24 bytes
    whole(tmp_path / "m")
    assert struct.pack("<2H2Q", 1, 16, 24, 24) in (tmp_path / "m").read_bytes()
    for case in ("run", "check"):
        assert run(cases, case, tmp_path / "m").returncode == 0


def test_threads_do_not_race(tmp_path: Path) -> None:
    program = build_cases(tmp_path / "races", "-g", "-O1", "-fsanitize=thread")
    whole(tmp_path / "m")
    for case in ("threads", "instances"):
        result = run(program, case, tmp_path / "m")
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_damaged_files(tmp_path: Path) -> None:
    program = build(tmp_path / "fuzz", [FOLDER / "fuzz_loader.c"], *SANITIZERS)
    whole(tmp_path / "m")
    result = run(program, tmp_path / "m", "20000")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_members_on_exact_memory(tmp_path: Path) -> None:
    """Every prefix of every member: no parser reads behind its end. A header of 1,024 bytes is read."""
    program = build(tmp_path / "members", [FOLDER / "fuzz_members.c"], *SANITIZERS)
    whole(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for length in (1022, 1023, 1024, 1025):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }".ljust(length - 1) + "\n"
        header = b"\x93NUMPY\x01\0" + struct.pack("<H", length) + text.encode()
        members[f"{length}.npy"] = header + WEIGHTS.tobytes()
    paths = []
    for name, data in members.items():
        kind = 0 if name == "abi" else 1 if name.endswith(".npy") else 2
        paths.append(tmp_path / f"{name}.member")
        paths[-1].write_bytes(bytes([kind]) + data)
    paths.append(tmp_path / "whole.member")
    paths[-1].write_bytes(b"\2" + (tmp_path / "m").read_bytes())
    result = run(program, *paths)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("language", [
    ("gcc", "c99", "c", "-Wstrict-prototypes"), ("g++", "c++17", "c++", "-Wold-style-cast"),
], ids=lambda part: part[1])
def test_header_has_no_warnings(language: tuple[str, str, str, str]) -> None:
    compiler, standard, name, warning = language
    source = f'#include "{HEADER}"\n#include "{HEADER}"\nextern espalier_code model;\n'
    command = [compiler, f"-std={standard}", *WARNINGS, "-Wshadow", "-Wundef", warning, "-fsyntax-only", "-x",
               name, "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", [*SOURCES, RUNNER], ids=lambda path: path.stem)
def test_sources_have_no_warnings(path: Path) -> None:
    """Optimised, so that the compiler looks at values too."""
    command = ["gcc", "-std=c99", *WARNINGS, "-Wshadow", "-Wcast-qual", "-Wstrict-prototypes", "-O2",
               "-DESPALIER_MODEL=model", "-c", str(path), "-o", os.devnull]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


class Bytes(ctypes.Structure):
    """espalier_bytes."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


def test_the_digest_is_pythons(tmp_path: Path) -> None:
    """Every length around a block of 128 bytes, and more than one."""
    build(tmp_path / "runtime.so", [], "-shared", "-fPIC", "-fvisibility=default")
    digest = ctypes.CDLL(str(tmp_path / "runtime.so")).espalier_digest
    data = np.random.default_rng(0).bytes(1000)
    for size in (*range(260), 999, 1000):
        found = ctypes.create_string_buffer(abi.DIGEST_BYTES)
        digest(Bytes(data, size), found)
        assert found.raw.hex() == entry.digest_of(data[:size]), size


def test_only_the_interface_is_exported(tmp_path: Path) -> None:
    build(tmp_path / "runtime.so", [], "-shared", "-fPIC")
    symbols = subprocess.run(["nm", "-D", "--defined-only", tmp_path / "runtime.so"], capture_output=True,
                             text=True)
    exported = {line.split()[2] for line in symbols.stdout.splitlines() if " T " in line}
    interface = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    assert exported == set(re.findall(r"(espalier_\w+)\(", interface))


def test_python_and_c_agree() -> None:
    text = HEADER.read_text()
    assert re.search(r"#define ESPALIER_ABI (\d+)u", text)[1] == str(abi.VERSION)  # type: ignore[index]
    assert re.search(r"#define ESPALIER_MAX_RANK (\d+)", text)[1] == str(abi.MAX_RANK)  # type: ignore[index]
    threads = re.search(r"#define ESPALIER_MAX_THREADS (\d+)", text)[1]  # type: ignore[index]
    assert threads == str(abi.MAX_THREADS)
    body = re.search(r"enum espalier_dtype \{(.*?)\}", text, re.S)[1]  # type: ignore[index]
    digest = re.search(r"#define ESPALIER_DIGEST_BYTES (\d+)", text)[1]  # type: ignore[index]
    assert digest == str(abi.DIGEST_BYTES)
    codes = {name.lower(): int(code) for name, code in re.findall(r"ESPALIER_(\w+) = (\d+)", body)}
    assert codes == abi.DTYPES
    assert re.search(r"#define ESPALIER_SEQUENTIAL (\d+)u", text)[1] == str(abi.SEQUENTIAL)  # type: ignore[index]
    source = (INCLUDE / "pair.c").read_text()
    assert tuple(re.findall(r'\[[A-Z]+\] = "(\w+)"', source)) == entry.BUFFERS
    header = re.sub(r"/\*.*?\*/", "", (INCLUDE / "team.h").read_text(), flags=re.S)
    body = re.search(r"struct espalier_turn \{(.*?)\n\};", header, re.S)[1]  # type: ignore[index]
    members = len(re.findall(r"[;,]", re.sub(r"\([^)]*,[^)]*\)", "", body)))
    assert members == entry.TURN_WORDS


def test_every_source_is_listed() -> None:
    assert {*SOURCES, RUNNER, *VULKAN_SOURCES} == set(INCLUDE.glob("*.c"))
