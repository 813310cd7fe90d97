"""CONTRIBUTING's recipe of a micro-kernel: a family of its own for full matrices, which counts its layers."""

from __future__ import annotations

from typing import Any

from espalier.sparse_dialect.devices.cores import Core
from espalier.sparse_dialect.lowering.cpu.families.matrices import DenseRowsFamily

PLANNED: list[Any] = []


class OwnRows(DenseRowsFamily):
    """The code is that of ``dense_rows``."""

    name = "own_rows"

    def plan(self, layer: Any, core: Core) -> Any:
        PLANNED.append(layer)
        return super().plan(layer, core)
