"""The IR between a compilation's stages, as files that espalier-opt goes on with.

    // espalier-opt reproducer: '--pass-pipeline=builtin.module(sparse-lower-to-vector,...)'
    module attributes {sparse.target = #sparse.target<{...}>} {...}

The first line holds the rest of the pipeline, for ``espalier-opt --run-reproducer``; locations are printed,
since labels are made from them, and weights too, so that the code at the end is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import EspalierError
from ..files import replacing
from ..sparse_dialect.ir.mlir import ir
from .pipeline import Nest
from .reproducer import header_of


@dataclass(frozen=True)
class StageFiles:
    """A listener (``driver.Watch``) that writes what the stages named in ``paths`` leave."""

    paths: Mapping[str, Path]

    def __call__(self, name: str, root: ir.Operation, rest: Nest) -> None:
        if name in self.paths:
            write_stage(self.paths[name], root, rest)


class StageFolder:
    """A listener that writes what every stage leaves, as ``0-linalg.mlir``, ``1-sparse.mlir``, ..."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EspalierError(f"cannot make the folder '{folder}': {error.strerror}") from error

    def __call__(self, name: str, root: ir.Operation, rest: Nest) -> None:
        write_stage(self._folder / f"{self._count}-{name}.mlir", root, rest)
        self._count += 1


def write_stage(path: Path, root: ir.Operation, rest: Nest) -> None:
    """Writes ``root`` and the pipeline that follows."""
    header = header_of(rest) if rest.items else ""
    text = root.get_asm(enable_debug_info=True)
    with replacing(path) as file:
        file.write(f"{header}{text.rstrip()}\n".encode())
