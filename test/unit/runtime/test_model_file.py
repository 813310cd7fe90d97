"""The compiled-model file: round trip, alignment, mapping, and every way to damage it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from espalier import files
from espalier.errors import EspalierError
from espalier.runtime import model_file
from espalier.runtime.model_file import ModelFile, fingerprint_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiers import examples

MANIFEST: dict[str, Any] = {
    "target": {"name": "avx2"}, "inputs": [{"name": "x", "shape": [1, 2, 3], "dtype": "float32"},
               {"name": "z", "shape": [2], "dtype": "int64"}],
    "outputs": [{"name": "y", "shape": [-1, 2], "dtype": "int64"}], "layers": [{"name": "é"}],
    "labels": ["start", "é"], "messages": ["index out of range"],
    "sizes": {"arena": 64, "arena_per_step": 8, "scratch": 16, "stamps": 2, "weights": 1000}}


def file_of(weights: np.ndarray, code: bytes = b"code") -> ModelFile:
    return ModelFile(MANIFEST, code, weights, "0123456789abcdef" * 2)


def sample(weight_bytes: int = 1000) -> ModelFile:
    weights = np.random.default_rng(0).integers(0, 256, weight_bytes, dtype=np.uint8)
    inputs = [np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.array([1, 2], np.int64)]
    outputs = [np.arange(8).reshape(4, 2)]
    return replace(file_of(weights, b"\x7fELF code"), sample_inputs=inputs, sample_outputs=outputs,
                   runner=b"\x7fELF program")


def same(a: ModelFile, b: ModelFile) -> bool:
    return (a.manifest == b.manifest and a.code == b.code and np.array_equal(a.weights, b.weights)
            and a.fingerprint == b.fingerprint and a.runner == b.runner
            and len(a.sample_inputs) == len(b.sample_inputs)
            and len(a.sample_outputs) == len(b.sample_outputs)
            and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in
                    zip(a.sample_inputs + a.sample_outputs, b.sample_inputs + b.sample_outputs, strict=True)))


@pytest.mark.parametrize("weight_bytes", [0, 1, 63, 64, 100_000])
def test_round_trip(tmp_path: Path, weight_bytes: int) -> None:
    sample(weight_bytes).write(tmp_path / "m.espalier")
    read = ModelFile.read(tmp_path / "m.espalier")
    assert same(read, sample(weight_bytes))
    assert list(tmp_path.iterdir()) == [tmp_path / "m.espalier"]


def test_weights_are_mapped_and_aligned(tmp_path: Path) -> None:
    sample().write(tmp_path / "m")
    weights = ModelFile.read(tmp_path / "m").weights
    assert isinstance(weights, np.memmap)
    assert weights.ctypes.data % 64 == 0
    assert not weights.flags.writeable


def test_every_member_is_aligned_and_stored(tmp_path: Path) -> None:
    sample().write(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive, open(tmp_path / "m", "rb") as file:
        assert archive.testzip() is None  # any ZIP tool can read it
        for info in archive.infolist():
            offset, _ = model_file._span(file, info, (tmp_path / "m").stat().st_size)
            assert offset % 64 == 0
            assert info.compress_type == zipfile.ZIP_STORED


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    sample().write(tmp_path / "a")
    sample().write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_typed_weights_are_stored_as_their_bytes(tmp_path: Path) -> None:
    weights = np.arange(10, dtype=np.float32)
    file_of(weights).write(tmp_path / "m")
    assert np.array_equal(ModelFile.read(tmp_path / "m").weights.view(np.float32), weights)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("damage") / "m"
    sample().write(path)
    return path.read_bytes(), path.with_name("damaged")


@settings(max_examples=examples(400), deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_an_error_or_harmless(image: tuple[bytes, Path], data: st.DataObject) -> None:
    original, path = image
    damaged = bytearray(original)
    damaged[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        read = ModelFile.read(path)
    except EspalierError as error:
        message = str(error)
    else:
        assert same(read, sample())  # padding, dates and attributes carry nothing
        return
    assert str(path) in message
    assert "\n" not in message


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_an_error(image: tuple[bytes, Path], data: st.DataObject) -> None:
    original, path = image
    path.write_bytes(original[: data.draw(st.integers(0, len(original) - 1))])
    with pytest.raises(EspalierError, match="damaged"):
        ModelFile.read(path)


def test_flipped_weight_byte(tmp_path: Path) -> None:
    sample().write(tmp_path / "m")
    data = bytearray((tmp_path / "m").read_bytes())
    data[data.index(sample().weights.tobytes()) + 5] ^= 1
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(EspalierError, match=r"m' is damaged.*weights"):
        ModelFile.read(tmp_path / "m")
    assert not same(ModelFile.read(tmp_path / "m", verify=False), sample())


@pytest.mark.parametrize("content", [b"", b"P", b"\x7fELF", b"hello world" * 100])
def test_foreign_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(EspalierError, match="not an Espalier model file"):
        ModelFile.read(tmp_path / "m")


def test_foreign_archives(tmp_path: Path) -> None:
    for name in ("other.txt", "manifest.json"):
        with zipfile.ZipFile(tmp_path / "z", "w") as archive:
            archive.writestr(name, "{}")
        with pytest.raises(EspalierError, match=r"not an Espalier model file|damaged"):
            ModelFile.read(tmp_path / "z")


@pytest.mark.parametrize("version", [1, 7])
def test_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "VERSION", version)
        sample().write(tmp_path / "m")
    with pytest.raises(EspalierError, match=f"version {version}, this Espalier reads version 4; compile"):
        ModelFile.read(tmp_path / "m")


def test_an_abi_of_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "describe", lambda *_: b"ESPA")
        sample().write(tmp_path / "m")
    with pytest.raises(EspalierError, match=r"damaged.*'abi' does not fit the manifest"):
        ModelFile.read(tmp_path / "m")


def test_fingerprint_tells_codes_apart() -> None:
    found = fingerprint_of(b"code")
    assert len(found) == 32
    assert found == fingerprint_of(b"code")
    assert found != fingerprint_of(b"Code")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match=r"cannot read .*No such file"):
        ModelFile.read(tmp_path / "absent")
    with pytest.raises(EspalierError, match=r"cannot read .*directory"):
        ModelFile.read(tmp_path)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            failure: type[BaseException] | BaseException) -> None:
    sample().write(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(model_file, "npy_bytes", fail)  # the last members: most is written by then
    with pytest.raises(EspalierError if isinstance(failure, OSError) else failure):  # type: ignore[arg-type]
        sample(5000).write(tmp_path / "m")
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(tmp_path / "m", before)]


def test_a_full_disk(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the kernel refuses the write half-way."""
    script = """
import resource, sys, numpy as np
from espalier.errors import EspalierError
from espalier.runtime.model_file import ModelFile
manifest = {"target": {"name": ""}, "inputs": [], "outputs": [], "labels": [], "messages": [],
            "sizes": {"arena": 0, "scratch": 0, "stamps": 0, "weights": 1_000_000}}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    ModelFile(manifest, b"", np.zeros(1_000_000, np.uint8), "0" * 32).write(sys.argv[1])
except EspalierError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "m")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "cannot write" in result.stdout
    assert "File too large" in result.stdout
    assert not list(tmp_path.iterdir())


def test_unwritable_paths(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match="cannot write"):
        sample().write(tmp_path / "no" / "m")
    with pytest.raises(EspalierError, match="cannot write"):
        sample().write(tmp_path)
    with pytest.raises(EspalierError, match="no folder"):
        files.check_writable(tmp_path / "no" / "m")
    with pytest.raises(EspalierError, match="it is a folder"):
        files.check_writable(tmp_path)
    files.check_writable(tmp_path / "m")


def test_symlinks_and_devices_survive(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with files.replacing(tmp_path / "link") as file:
        file.write(json.dumps(1).encode())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "1"
    with files.replacing("/dev/null") as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.slow
def test_weights_above_two_gib(tmp_path: Path) -> None:
    weights = np.zeros((1 << 31) + 100, np.uint8)
    weights[-1] = 7
    file_of(weights).write(tmp_path / "m")
    read = ModelFile.read(tmp_path / "m")
    assert read.weights.size == weights.size
    assert read.weights[-1] == 7
    assert read.code == b"code"
