"""Whether a model file is the one that the user means: its SHA-256, or an Ed25519 signature beside it.

A compiled model is a program. The file's own checksums and fingerprint find accidents; only what comes from
outside of the file, a hash or a public key, tells who made it (``docs/security.md``). Both are checked on the
bytes that are then used, before anything in them is run.

    FILE.sig: the 64 bytes of an Ed25519 signature over the whole of FILE (RFC 8032), as
    ``openssl pkeyutl -sign -rawin`` writes them; keys are PEM files, as ``openssl genpkey -algorithm
    ed25519`` writes them
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EspalierError, optional
from ..files import check_readable, replacing

SUFFIX = ".sig"


@dataclass(frozen=True)
class Trust:
    """
    What the user knows of the right file; fields that are None ask for nothing. An empty text, as a
    shell makes of a variable that is not set, fits no file.

    ``sha256``: 64 hexadecimal digits; ``key``: the path of a public key (PEM) for the signature in
    ``FILE.sig``.
    """

    sha256: str | None = None
    key: str | Path | None = None

    @property
    def asked(self) -> bool:
        return self.sha256 is not None or self.key is not None

    def check(self, data: bytes, path: str | Path) -> None:
        """Raises ``EspalierError`` where ``data``, read from ``path``, is not what the user means."""
        if self.sha256 is not None:
            found = hashlib.sha256(data).hexdigest()
            if not hmac.compare_digest(found.encode(), self.sha256.strip().lower().encode()):
                raise EspalierError(f"'{path}': expected SHA-256 {self.sha256}, found {found}")
        if self.key is not None:
            _verify(data, path, self.key)


ANY_FILE = Trust()


def sign(path: str | Path, key: str | Path) -> Path:
    """Signs the file with a private key (PEM); the path of the signature, beside it."""
    private = _key(key, private=True)
    target = Path(f"{path}{SUFFIX}")
    signature = private.sign(read_file(path))
    with replacing(target) as file:
        file.write(signature)
    return target


def _verify(data: bytes, path: str | Path, key: str | Path) -> None:
    public = _key(key, private=False)
    signature = read_file(f"{path}{SUFFIX}")
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, data)
    except InvalidSignature as error:
        raise EspalierError(f"'{path}': the signature in '{path}{SUFFIX}' is not this file's by the key "
                            f"'{key}'") from error


def _key(path: str | Path, private: bool) -> Any:
    """The Ed25519 key in a PEM file."""
    form = optional("cryptography.hazmat.primitives.serialization", "signing")
    ed25519 = optional("cryptography.hazmat.primitives.asymmetric.ed25519", "signing")
    unsupported = optional("cryptography.exceptions", "signing").UnsupportedAlgorithm
    kind = "private" if private else "public"
    data = read_file(path)
    try:
        key: Any = (form.load_pem_private_key(data, password=None) if private
                    else form.load_pem_public_key(data))
    except (ValueError, TypeError, unsupported) as error:
        raise EspalierError(f"'{path}' is no {kind} Ed25519 key in PEM, without a password") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        raise EspalierError(f"'{path}' is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key


def read_file(path: str | Path) -> bytes:
    """The bytes of a file; ``EspalierError`` where there is none."""
    check_readable(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
