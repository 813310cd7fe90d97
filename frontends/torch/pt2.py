"""Reading ``.pt2`` files without running what is in them.

``torch.export.load`` unpickles tensors with ``weights_only=False``, custom objects with plain pickle, opens
shared libraries that the archive holds, and evaluates size expressions as Python. So each member is looked
at first: tensors must load with ``weights_only=True``, and nothing of the other kinds may be there. The bytes
that were looked at are the bytes that are loaded.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import EspalierError, optional
from ..quiet import quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# Operators as torch.export writes them: registered ones, and arithmetic on sizes.
_OPERATOR = re.compile(r"(?:torch\.ops\.|_operator\.|math\.|torch\.sym_|torch\._sym_|#)[\w.]*")
# What a size expression may name: symbols, and sympy's and PyTorch's functions of integers.
_NAMES = frozenset((
    "Abs Add And CeilDiv CeilToInt CleanDiv Eq False FloatPow FloatTrueDiv FloorDiv FloorToInt Ge Gt "
    "Identity IntTrueDiv Integer Le Lt Max Min Mod ModularIndexing Mul Ne Not Or Piecewise Pow PowByNatural "
    "PythonMod RoundToInt ToFloat True TruncToFloat TruncToInt Where ceiling floor int_oo oo sqrt").split())
_EXPRESSION = re.compile(r"[\w\s()+*/%<>=!&|~,.-]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[a-z]{1,3}\d+")  # s77, u0, zuf1
_ATTRIBUTE = re.compile(r"\.(?!\d)")
_QUOTED_SYMBOL = re.compile(r"Symbol\('[a-z]{1,3}\d+'(?:, [a-z]+=(?:True|False|None))*\)")


def load_pt2(path: Path, trust: bool) -> ExportedProgram:
    """
    The program in ``path``. With ``trust`` the file may do what it wants: pickles in it are run.

    Raises ``EspalierError`` where the file is no program, or could run code and ``trust`` is not given.
    """
    torch = optional("torch", "a .pt2 file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EspalierError(f"cannot read '{path}': {error.strerror or error}") from error
    if not trust:
        _check_harmless(path, data)
    try:
        with quiet():
            return torch.export.load(io.BytesIO(data))
    except Exception as error:  # a damaged archive fails in many ways inside torch
        reason = str(error).strip().partition("\n")[0]
        raise EspalierError(f"{path}: not a torch.export program ({reason})") from error


def _check_harmless(path: Path, data: bytes) -> None:
    """Raises ``EspalierError`` for a member that loading would run."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)):
                raise ValueError("two members of one name")
            raw = _raw_members(archive)
            for name in names:
                found = "" if name in raw else _danger(name.rpartition("/")[2], archive.read(name))
                if found:
                    raise EspalierError(f"{path}: '{name}' {found}, so that reading it may run any code; if "
                                        "you trust the file, give --trust (or load it with "
                                        "torch.export.load and compile the program)")
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, KeyError, TypeError,
            AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EspalierError(f"{path}: not a torch.export program ({reason})") from error


def _raw_members(archive: zipfile.ZipFile) -> set[str]:
    """The members that PyTorch reads as plain bytes of a tensor: their configuration never says otherwise."""
    pickled: dict[str, bool] = {}
    for name in archive.namelist():
        if name.endswith("_config.json"):
            for payload in json.loads(archive.read(name))["config"].values():
                member = f"{name.rpartition('/')[0]}/{payload['path_name']}"
                pickled[member] = pickled.get(member, False) or bool(payload["use_pickle"])
    return {member for member, by_pickle in pickled.items()
            if not by_pickle and member.rpartition("/")[2].startswith(("weight_", "tensor_"))}


def _danger(name: str, data: bytes) -> str:
    """What is dangerous in a member of the archive; empty where nothing is."""
    import torch

    if name.startswith(("custom_obj_", "opaque_obj_")):
        return "is a pickled object"
    if data.startswith(b"\x7fELF") or name.endswith((".so", ".dylib", ".dll")):
        return "is a shared library"
    if name.endswith(".json"):
        return _danger_in(json.loads(data)) or ""
    if data.startswith((b"PK\x03\x04", b"\x80")):
        try:
            with quiet():
                torch.load(io.BytesIO(data), weights_only=True)
        except Exception as error:  # torch names what it does not know in many ways
            reason = str(error).strip().partition("\n")[0]
            return f"is a pickle of more than tensors ({type(error).__name__}: {reason[:80]})"
    return ""


def _danger_in(value: Any) -> str | None:
    """The first operator or size expression in a program's JSON that is none."""
    for key, entry in _entries(value):
        if key == "target" and isinstance(entry, str) and "." in entry and not _OPERATOR.fullmatch(entry):
            return f"calls '{entry[:80]}', which is no operator"
        if key in ("expr_str", "as_expr") and isinstance(entry, str) and not _is_expression(entry):
            return f"holds '{entry[:80]}', which is no size"
    return None


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value in a JSON value, at any depth."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key, entry
            yield from _entries(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _entries(entry)


def _is_expression(text: str) -> bool:
    text = _QUOTED_SYMBOL.sub("s0", text)
    words = _WORD.findall(text)
    return bool(_EXPRESSION.fullmatch(text)) and not _ATTRIBUTE.search(text) and all(
        word in _NAMES or _SYMBOL.fullmatch(word) for word in words)
