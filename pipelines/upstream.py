"""What the bindings' own pass manager knows: which passes it has, where they may stand, their options."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from ..sparse_dialect.dialect.dialect import register_dialect
from ..sparse_dialect.errors import EspalierError
from ..sparse_dialect.ir.mlir import bindings, ir, passmanager

RESTRICTED = re.compile(r"restricted to '([\w.]+)'")
# The bindings cannot list their passes; these are the ones people write most, for "did you mean".
COMMON = (
    "buffer-deallocation-pipeline", "canonicalize", "convert-arith-to-llvm", "convert-func-to-llvm",
    "convert-linalg-to-affine-loops", "convert-linalg-to-loops", "convert-scf-to-cf", "convert-to-llvm",
    "convert-vector-to-llvm", "convert-vector-to-scf", "cse", "expand-strided-metadata",
    "finalize-memref-to-llvm", "inline", "linalg-fuse-elementwise-ops", "linalg-generalize-named-ops",
    "loop-invariant-code-motion", "lower-affine", "one-shot-bufferize", "reconcile-unrealized-casts", "sccp",
    "symbol-dce")
UNKNOWN = "'{}' does not refer to a registered pass"


def _has_torch_passes() -> bool:
    """Whether the bindings bring torch-mlir's passes; importing them registers them."""
    with contextlib.suppress(ImportError):
        bindings("_mlir_libs._torchMlir")
        return True
    return False


HAS_TORCH_PASSES = _has_torch_passes()


def reading_context() -> ir.Context:
    """A context for files: with our dialect, and tm_tensor (torch-mlir's scans, sorts and scatters) where
    the bindings bring it, which only a pass that makes its ops loads."""
    context = ir.Context()
    register_dialect(context)
    if HAS_TORCH_PASSES:
        empty = ir.Module.parse("module {}", context)
        passmanager.PassManager.parse("builtin.module(func.func(tm-tensor-bufferize))", context).run(
            empty.operation)
    return context


class UnknownUpstream(EspalierError):
    """The upstream pass manager has no pass of that name."""


class WrongAnchor(EspalierError):
    """The pass runs only on operations named ``anchor``."""

    def __init__(self, message: str, anchor: str) -> None:
        super().__init__(message)
        self.anchor = anchor


def check(anchor: str, name: str, options: str = "") -> None:
    """Raises an ``EspalierError`` unless the upstream pass ``name{options}`` may stand on ``anchor``."""
    with _context(), captured_stderr() as printed:
        try:
            passmanager.PassManager.parse(f"{anchor}({name}{{{options}}})")
            return
        except ValueError as error:
            message = str(error)
    if UNKNOWN.format(name) in message:
        raise UnknownUpstream(f"unknown pass '{name}'")
    restricted = RESTRICTED.search(message)
    if restricted:
        raise WrongAnchor(f"pass '{name}' runs on '{restricted[1]}', not on '{anchor}': write "
                          f"{restricted[1]}({name})", restricted[1])
    lines = [line.strip() for line in f"{printed.text}\n{message}".splitlines()]
    reason = next((line for line in lines if line and not line.startswith("failed to add")), "bad options")
    reason = reason.removeprefix("<Pass-Options-Parser>: ").lstrip(": ")
    raise EspalierError(f"pass '{name}' refuses '{options}': {reason}")


@functools.cache
def _context() -> ir.Context:
    return ir.Context()


@dataclass
class Printed:
    """What was written to file descriptor 2 while it was captured; set when the capture ends."""

    text: str = ""


@contextlib.contextmanager
def captured_stderr() -> Iterator[Printed]:
    """Collects what native code prints to stderr: the option parser reports bad values only there."""
    printed = Printed()
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            printed.text = file.read().decode(errors="replace")
