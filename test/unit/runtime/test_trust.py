"""Which file is meant: hashes, signatures, and that nothing runs before they are checked."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import espalier
import numpy as np
import pytest
from espalier.errors import EspalierError
from espalier.runtime import compiled_model
from espalier.runtime.model_file import ModelFile
from espalier.runtime.trust import Trust, sign
from support.command_line import CommandLine, one_line
from support.fake_model import affine_file


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    affine_file(target={"name": "host"}).write(tmp_path / "m")
    return tmp_path / "m"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key, as openssl writes them."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519",
                                  reason="cryptography is not installed (extra sign)")
    from cryptography.hazmat.primitives import serialization as form

    private = ed25519.Ed25519PrivateKey.generate()
    pem = form.Encoding.PEM
    (tmp_path / "private.pem").write_bytes(
        private.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption()))
    (tmp_path / "public.pem").write_bytes(
        private.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo))
    return tmp_path / "private.pem", tmp_path / "public.pem"


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes code ready to run fails the test."""
    def run(*_: object) -> None:
        pytest.fail("code was loaded before the file was checked")

    monkeypatch.setattr(compiled_model, "JitExecutor", run)


def test_sha256(model: Path) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    for text in (digest, digest.upper(), f" {digest}\n"):
        assert ModelFile.read(model, trust=Trust(text)).fingerprint
    for text in ("0" * 64, digest[:-1], "é", ""):
        with pytest.raises(EspalierError, match=f"m': expected SHA-256 .*, found {digest}"):
            ModelFile.read(model, trust=Trust(text))


def test_another_file_never_runs(model: Path, never: None, cli: CommandLine) -> None:
    with pytest.raises(EspalierError, match="expected SHA-256"):
        espalier.load(str(model), sha256="0" * 64)
    assert one_line(cli("run", model, "--check", "--sha256", "0" * 64), "expected SHA-256 0000")
    assert one_line(cli("run", model, "--check", "--device", "local", "--sha256", "1"), "expected SHA-256 1,")
    assert one_line(cli("run", model, "--check", "--sha256", ""), "expected SHA-256 ,")  # "$UNSET"
    assert one_line(cli("run", model, "--check", "--verify", ""))


def test_signatures(model: Path, keys: tuple[Path, Path], cli: CommandLine, never: None) -> None:
    private, public = keys
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert digest in cli("sign", model, private).out
    assert len(Path(f"{model}.sig").read_bytes()) == 64
    assert f"signed by the key in {public}, SHA-256 {digest}" in cli("sign", model, "--verify", public).out
    assert ModelFile.read(model, trust=Trust(key=public)).fingerprint
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    for words in (("sign", model, "--verify", public), ("run", model, "--check", "--verify", public)):
        assert one_line(cli(*words), "m.sig' is not this file's by the key")


def test_openssl_agrees(model: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign(model, keys[0])
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys[1], "-in", model,
               "-sigfile", f"{model}.sig"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr + done.stdout


def test_keys_and_signatures_that_are_none(model: Path, keys: tuple[Path, Path], cli: CommandLine) -> None:
    private, public = keys
    assert one_line(cli("sign", model), "give a private key to sign with, or --verify")
    assert one_line(cli("sign", model, private, "--verify", public), "give a private key to sign with, or")
    assert one_line(cli("sign", model, public), "public.pem' is no private Ed25519 key in PEM")
    assert one_line(cli("sign", model, model), "is no private Ed25519 key in PEM")
    assert one_line(cli("sign", model, "absent.pem"), "cannot read 'absent.pem'")
    assert one_line(cli("sign", private, private), "is not an Espalier model file")
    assert one_line(cli("sign", model, "--verify", public), "cannot read", "m.sig'")
    Path(f"{model}.sig").write_bytes(b"short")
    assert one_line(cli("sign", model, "--verify", public), "is not this file's by the key")
    assert one_line(cli("sign", model, "--verify", private), "private.pem' is no public Ed25519 key in PEM")


def test_a_key_of_another_kind(model: Path, tmp_path: Path, cli: CommandLine) -> None:
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    from cryptography.hazmat.primitives import serialization as form

    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "k.pem").write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    assert one_line(cli("sign", model, tmp_path / "k.pem"), "is no Ed25519 key; make one with: openssl")


def test_a_file_that_is_read_may_change(model: Path) -> None:
    """Mapped weights are the file's; read ones are the process's own, aligned alike."""
    read = ModelFile.read(model, mmap=False)
    before = read.weights.copy()
    assert not isinstance(read.weights, np.memmap)
    assert read.weights.ctypes.data % 64 == 0
    assert not read.weights.flags.writeable
    with open(model, "r+b") as file:
        file.truncate(0)
    assert np.array_equal(read.weights, before)
