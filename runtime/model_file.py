"""The compiled-model file: one ZIP archive whose members lie uncompressed and 64-byte aligned.

Members: ``manifest.json``, ``abi`` (what the C runtime needs of it, see ``abi.py``), ``code`` (what the
executor loads: bytecode for the host, a shared library for other targets), ``weights`` (every packed array,
one behind the other), the recorded pair ``input_<i>.npy``, ``output_<i>.npy``, what states are at first
(``states.py``) ``state_<i>.npy``, for other targets ``runner`` (the executable that ``espalier run --device``
sends along), and for the host ``native`` and ``native_for`` (machine code, so that loading compiles nothing,
and the processor that it is for). Any unzip tool opens it; because nothing is compressed and each member's
data starts at a multiple of 64 (the extra field pads it, as Android's zipalign does), the weights are
memory-mapped as they lie and never copied. Every member's CRC-32 is in the archive. ``c/archive.c`` reads it
too.

A model for several batch sizes holds all members but ``weights`` once for each, ``1/code`` and so on from the
second one. The codes share the weights: each one's are the first bytes, which the next one's go on from.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import EspalierError
from ..files import check_readable, replacing
from .abi import FREE, describe
from .memory import zeroed
from .states import RUNS, interface
from .trust import ANY_FILE, Trust

FORMAT = "espalier-model"
VERSION = 4
ALIGNMENT = 64
ARRAYS = ("input", "output", "state")
OPTIONAL = ("runner", "native", "native_for")  # members that are left out where they are empty

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # ZIP appnote 4.3.7; ends with the lengths of name and extra
_PADDING_ID = 0xD935  # the extra-field id that zipalign uses for its padding
_ZIP64_EXTRA = 20  # bytes that zipfile adds to the local header of a member near or above 2 GiB
_CHUNK = 1 << 24
# What zipfile, json and numpy raise on damaged bytes (JSON errors are ValueErrors).
_DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError,
           OverflowError, MemoryError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A compiled model, in memory or mapped from its file.

    ``manifest`` is JSON-able and belongs to the compiler (inputs, outputs, target, layers, sizes); format
    name and version are kept beside it, not in it. ``weights`` is uint8 [bytes], read-only and mapped when
    it was read from a file. ``sample_inputs`` and ``sample_outputs`` are the recorded pair that ``espalier
    run --check`` replays; of a model with states the outputs are those of two consecutive runs, each with
    the states that it leaves. ``states``: their initial values. ``fingerprint`` (32 hexadecimal digits, see
    ``fingerprint_of``) is the one that compiled code carries; ``runner`` is an executable for the target, or
    empty. ``variants``: the same model for other batch sizes; their weights are the first bytes of the last
    one's, which these are.
    """

    manifest: dict[str, Any]
    code: bytes
    weights: np.ndarray
    fingerprint: str
    sample_inputs: list[np.ndarray] = field(default_factory=list)
    sample_outputs: list[np.ndarray] = field(default_factory=list)
    runner: bytes = b""
    native: bytes = b""
    native_for: bytes = b""
    states: list[np.ndarray] = field(default_factory=list)
    variants: list[ModelFile] = field(default_factory=list)

    @property
    def own_weights(self) -> np.ndarray:
        """The weights of this batch's code."""
        return self.weights[: int(self.manifest["sizes"]["weights"])] if self.variants else self.weights

    @property
    def parts(self) -> list[ModelFile]:
        """The model for each batch size, as a file of its own."""
        return [replace(self, weights=self.own_weights, variants=[]), *self.variants]

    @property
    def expected(self) -> list[np.ndarray]:
        """The recorded outputs of one run, from the initial states; empty where none were recorded."""
        return self.sample_outputs[: len(interface(self.manifest)[1])]

    def write(self, path: str | Path) -> None:
        """Writes the file whole or not at all (see ``replacing``)."""
        with replacing(path) as file:
            self._write_to(file)

    def to_bytes(self) -> bytes:
        """What ``write`` writes."""
        stream = io.BytesIO()
        self._write_to(stream)
        return stream.getvalue()

    def _write_to(self, file: BinaryIO) -> None:
        weights = np.ascontiguousarray(self.weights).reshape(-1).view(np.uint8)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            self._write_part(archive, "", weights)
            for number, variant in enumerate(self.variants, start=1):
                variant._write_part(archive, f"{number}/", None)

    def _write_part(self, archive: zipfile.ZipFile, folder: str, weights: np.ndarray | None) -> None:
        """The members of one batch's code, whose names begin with ``folder``."""
        header = {"format": FORMAT, "version": VERSION, "fingerprint": self.fingerprint,
                  **{f"{kind}s": len(arrays) for kind, arrays in self._arrays()},
                  "runner": bool(self.runner), "variants": len(self.variants),
                  "manifest": self.manifest}
        abi = describe(self.manifest, self.fingerprint)
        _add(archive, f"{folder}manifest.json", json.dumps(header, indent=1).encode())
        _add(archive, f"{folder}abi", abi)
        _add(archive, f"{folder}code", self.code)
        if weights is not None:
            _add(archive, "weights", weights.data)
        for kind, arrays in self._arrays():
            for i, array in enumerate(arrays):
                _add(archive, f"{folder}{kind}_{i}.npy", npy_bytes(array))
        for name in OPTIONAL:
            if getattr(self, name):
                _add(archive, f"{folder}{name}", getattr(self, name))

    def _arrays(self) -> tuple[tuple[str, list[np.ndarray]], ...]:
        return ("input", self.sample_inputs), ("output", self.sample_outputs), ("state", self.states)

    @classmethod
    def read(cls, path: str | Path, verify: bool = True, mmap: bool = True,
             trust: Trust = ANY_FILE) -> ModelFile:
        """Reads ``path``, mapping the weights.

        The CRC-32 of the small members is always checked, that of the weights unless ``verify`` is False
        (checking reads them once, about a second per GiB). With ``mmap=False`` the whole file is read into
        memory: it may then change or vanish. So it is where ``trust`` asks for something, which is checked on
        these bytes. A file that is truncated, foreign, damaged, of a newer version or not the one that
        ``trust`` means raises an EspalierError that names it.
        """
        check_readable(path)
        try:
            with open(path, "rb") as file:
                if mmap and not trust.asked:
                    return cls._parse(path, file, lambda *span: _map(path, *span), verify)
                data = file.read()
            trust.check(data, path)
            return cls._parse(path, io.BytesIO(data), lambda *span: _copied(data, *span), verify)
        except OSError as error:
            raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
        except MemoryError as error:
            raise EspalierError(f"cannot read '{path}': out of memory") from error
        except _DAMAGE as error:
            raise EspalierError(f"'{path}' is damaged or truncated: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelFile:
        """The model in the bytes that ``to_bytes`` gave; raises as ``read`` does."""
        try:
            return cls._parse("<bytes>", io.BytesIO(data), lambda *span: _copied(data, *span), True)
        except _DAMAGE as error:
            raise EspalierError(f"the model's bytes are damaged or truncated: {error}") from error

    @classmethod
    def _parse(cls, path: str | Path, file: BinaryIO, take: Callable[[int, int], np.ndarray],
               verify: bool) -> ModelFile:
        """``take``: the bytes of a span of the file, u8."""
        if file.read(4) != b"PK\x03\x04":
            raise EspalierError(f"'{path}' is not an Espalier model file (write one with: espalier compile)")
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if "manifest.json" not in archive.namelist():
                raise EspalierError(f"'{path}' is not an Espalier model file: a ZIP without a manifest")
            if len(archive.namelist()) != len(set(archive.namelist())):
                raise ValueError("two members of one name")
            spans = {info.filename: _span(file, info, size) for info in archive.infolist()}
            weights = take(*spans["weights"])
            if verify and _crc(weights) != archive.getinfo("weights").CRC:
                raise ValueError("bad CRC-32 of member 'weights'")
            header = _header(path, archive, "")
            members = {"weights"}
            parts = [_part(archive, header, "", spans.keys(), weights, members)]
            for number in range(1, int(header.get("variants", 0)) + 1):
                folder = f"{number}/"
                parts.append(_part(archive, _header(path, archive, folder), folder, spans.keys(), weights,
                                   members))
            if others := spans.keys() - members:
                raise ValueError(f"unknown member '{min(others)}'")
            return replace(parts[0], variants=parts[1:])


def _header(path: str | Path, archive: zipfile.ZipFile, folder: str) -> dict[str, Any]:
    """What a manifest member holds, of this format and version."""
    header = json.loads(archive.read(f"{folder}manifest.json"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise EspalierError(f"'{path}' is not an Espalier model file: its manifest names no {FORMAT}")
    if header["version"] != VERSION:
        raise EspalierError(f"'{path}' has format version {header['version']}, this Espalier reads "
                            f"version {VERSION}; compile the model again")
    return header


def _part(archive: zipfile.ZipFile, header: Mapping[str, Any], folder: str, present: Collection[str],
          weights: np.ndarray, members: set[str]) -> ModelFile:
    """The model of one batch, whose members' names begin with ``folder`` and are added to ``members``;
    ``present``: all names."""
    manifest, fingerprint = dict(header["manifest"]), str(header["fingerprint"])
    if archive.read(f"{folder}abi") != describe(manifest, fingerprint):
        raise ValueError(f"member '{folder}abi' does not fit the manifest")
    names = [[f"{folder}{kind}_{i}.npy" for i in range(header[f"{kind}s"])] for kind in ARRAYS]
    inputs, outputs, states = ([_array(archive.read(name)) for name in own] for own in names)
    members.update(*names, (folder + name for name in ("manifest.json", "abi", "code", *OPTIONAL)))
    _check_arrays(manifest, inputs, outputs, states)
    if header.get("runner") and f"{folder}runner" not in present:
        raise ValueError(f"no member '{folder}runner'")
    runner, native, native_for = (archive.read(folder + name) if folder + name in present else b""
                                  for name in OPTIONAL)
    if native_for and json.loads(native_for)["model"] != fingerprint:
        raise ValueError("member 'native' is another model's")
    if folder:
        weights = weights[: int(manifest["sizes"]["weights"])]
    return ModelFile(manifest, archive.read(f"{folder}code"), weights, fingerprint, inputs, outputs, runner,
                     native, native_for, states)


def _check_arrays(manifest: Mapping[str, Any], inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray],
                  states: Sequence[np.ndarray]) -> None:
    """Raises ``ValueError`` where the recorded pair is not of the model's inputs and outputs, or the states
    are not those that it has."""
    known_inputs, known_outputs, known_states = interface(manifest)
    all_outputs = [*known_outputs, *known_states] * (RUNS if known_states else 1)
    for kind, arrays, specs in (("input", inputs, known_inputs), ("output", outputs, all_outputs),
                                ("state", states, known_states)):
        if len(arrays) != len(specs) and (arrays or kind == "state"):
            recorded = "" if kind == "state" else "recorded "
            raise ValueError(f"expected {len(specs)} {recorded}{kind}s, found {len(arrays)}")
        for number, (array, spec) in enumerate(zip(arrays, specs, strict=False)):
            fits = len(array.shape) == len(spec.shape) and array.dtype == np.dtype(spec.dtype) and all(
                size in (FREE, found) for size, found in zip(spec.shape, array.shape, strict=True))
            if not fits:
                raise ValueError(f"member '{kind}_{number}.npy' has another shape or dtype than the model's")


def fingerprint_of(code: bytes) -> str:
    """What tells a model from any other: 32 hexadecimal digits, of BLAKE2b.

    ``code``: whatever determines the code, target and text for instance; the digest of its weights is in it.
    """
    return hashlib.blake2b(code, digest_size=16).hexdigest()


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(name)  # its date is a constant, so equal models give equal files
    info.external_attr = 0o644 << 16
    file = archive.fp
    assert file is not None
    large = len(data) * 1.05 > zipfile.ZIP64_LIMIT
    start = file.tell() + _LOCAL_HEADER.size + len(name) + 4 + (_ZIP64_EXTRA if large else 0)
    padding = -start % ALIGNMENT
    info.extra = struct.pack("<2H", _PADDING_ID, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=large) as member:
        assert file.tell() % ALIGNMENT == 0, name
        for at in range(0, len(data), _CHUNK):
            member.write(data[at : at + _CHUNK])


def _span(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """Where a member's data lies: offset in the file and length in bytes."""
    file.seek(info.header_offset)
    fields = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    offset = info.header_offset + _LOCAL_HEADER.size + fields[-2] + fields[-1]
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ValueError(f"member '{info.filename}' is compressed")
    if fields[0] != b"PK\x03\x04" or offset % ALIGNMENT or offset + info.file_size > size:
        raise ValueError(f"member '{info.filename}' is out of place")
    return offset, info.file_size


def _map(path: str | Path, offset: int, length: int) -> np.ndarray:
    if not length:
        return np.empty(0, np.uint8)  # an empty range cannot be mapped
    return np.memmap(path, np.uint8, "r", offset, (length,))


def _copied(data: bytes, offset: int, length: int) -> np.ndarray:
    """A part of ``data`` on memory that is aligned as a mapped file is, read-only."""
    copy = zeroed(length)
    copy[:] = np.frombuffer(data, np.uint8, length, offset)
    copy.flags.writeable = False
    return copy


def _crc(data: np.ndarray) -> int:
    value = 0
    for at in range(0, len(data), _CHUNK):
        value = zlib.crc32(data[at : at + _CHUNK].data, value)
    return value


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
