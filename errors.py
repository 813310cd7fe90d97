"""The errors that a user can act on; they lie below every module: the runtime needs no compiler for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

# Control characters but tab and line feed, and marks that turn the direction of text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """``text`` without control characters, a ? for each: names come from files, and terminals obey them."""
    return _CONTROL.sub("?", str(text))


class EspalierError(Exception):
    """Bad input: the message is complete as it stands, and tools print it alone, with exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class MissingPackage(EspalierError):
    """Something optional is not installed; the message says what to install."""


# What the extras of pyproject.toml bring, by the name that is imported.
EXTRAS = {"torch": "torch", "llvmlite": "aot", "ziglang": "aot", "cryptography": "sign", "xdsl": "hosts",
          "tvm_ffi": "hosts", "tvm": "hosts", "executorch": "hosts",
          "onnx": "onnx", "onnxruntime": "onnx", "openvino": "peers", "ncnn": "peers", "pnnx": "peers",
          "MNN": "peers",
          "accelerate": "prune", "pydantic": "prune", "pydantic_core": "prune", "ruamel": "prune",
          "torchmetrics": "prune", "safetensors": "prune", "tensorboard": "prune", "scipy": "prune",
          "optuna": "prune", "cmaes": "tune", "PIL": "prune", "av": "prune", "soundfile": "prune",
          "transformers": "hf", "sklearn": "tune", "ray": "ray", "mkdocs": "docs",
          "ai_edge_litert": "litert", "litert_torch": "litert"}


def missing(package: str, purpose: str = "this") -> MissingPackage:
    """The error for ``purpose``, which needs ``package`` (the name that is imported, a key of ``EXTRAS``)."""
    top = package.partition(".")[0]
    return MissingPackage(f"{purpose} needs the package {top}: "
                          f"pip install 'espalier-compiler[{EXTRAS[top]}]'")


def optional(package: str, purpose: str = "this") -> Any:
    """The module ``package`` of an extra; ``MissingPackage`` where it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise missing(package, purpose) from error


def did_you_mean(word: str, known: Iterable[str], most: int = 3) -> str:
    """``did you mean a or b?``, at ``most`` so many; nothing when no name is close."""
    close = get_close_matches(word, list(known), most)
    return f"did you mean {' or '.join(close)}?" if close else ""


def unknown(what: str, found: str, known: Iterable[str], where: str = "") -> EspalierError:
    """``unknown target 'arm64': did you mean arm? Known are arm, x86``; ``where`` follows what was found."""
    names = list(known)
    meant = did_you_mean(found, names)
    return EspalierError(f"unknown {what} '{found}'{where}: {meant}{' ' if meant else ''}known are "
                         f"{', '.join(names)}")
