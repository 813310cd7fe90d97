"""What the weights of a ``.mlir`` file take in every storage that keeps them: what runs, and the papers'."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..frontends.mlir_file import load_mlir
from ..pipelines.parser import parse_pipeline
from ..pipelines.runner import Runner
from ..sparse_dialect.dialect.packed import Packed
from ..sparse_dialect.dialect.recurrent import WEIGHTED
from ..sparse_dialect.dialect.schedules import record_of
from ..sparse_dialect.dialect.schemes import scheme_of
from ..sparse_dialect.dialect.storages import packed_weight
from ..sparse_dialect.ir.constants import weight_of
from ..sparse_dialect.ir.walk import operations
from ..sparse_dialect.storage import Bcrc, Csr, KgsArrays
from ..sparse_dialect.storage import Packed as PackedWeight

DETECT = ("inline,symbol-dce,convert-elementwise-to-linalg,sparse-raise-linalg,"
          "sparse-lower-to-reference{uncovered=true},sparse-detect-schemes")
COMPARED = (Bcrc(), KgsArrays(), Csr())


@dataclass(frozen=True)
class StoredLayer:
    """One layer's weight: its name, its scheme, its bytes in f32, and how it is packed; first what runs."""

    name: str
    scheme: str
    dense_bytes: int
    packed: tuple[PackedWeight, ...]


def stored_layers(path: Path) -> list[StoredLayer]:
    """The layers of a ``.mlir`` file in program order; raises ``EspalierError`` for a file that is none."""
    module = load_mlir(path)
    Runner(parse_pipeline(f"builtin.module({DETECT})")).run(module.operation)
    found = []
    for number, layer in enumerate(operations(module.operation, *WEIGHTED)):
        weight, scheme = np.array(weight_of(layer, layer.weight)), scheme_of(layer)
        compared = tuple(storage.pack(weight, scheme) for storage in COMPARED
                         if not storage.why_not(scheme, weight.shape))
        name = record_of(layer).layer or f"layer{number}"
        found.append((name, scheme.name, weight.size * 4, compared))
    Runner(parse_pipeline("builtin.module(sparse-compress-weights)")).run(module.operation)
    packed = [packed_weight(op) for op in operations(module.operation, Packed)]
    return [StoredLayer(name, scheme, dense, (runs, *compared))
            for (name, scheme, dense, compared), runs in zip(found, packed, strict=True)]
