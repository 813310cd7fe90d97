"""A compiler that takes no time: the tools' tests put it in the place of the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from espalier.errors import EspalierError
from espalier.runtime.model_file import ModelFile
from espalier.runtime.records import LayerRecord, StatementRecord, TensorSpec


def fake_layer(name: str, op: str = "conv", **others: Any) -> LayerRecord:
    """A layer of a pruned network; ``others`` say what is different."""
    layer = LayerRecord(
        name, op, shape="3x8x8 -> 4x8x8, 3x3", scheme="pattern", sparsity=0.876, kernel="sparse 7x2",
        reason="8.1x fewer MACs", macs_dense=8100, macs_packed=1000, bytes_dense=40960, bytes_packed=5120,
        index_bytes=512, csr_index_bytes=4608, loads_before=900, loads_after=300, predicted_ms=0.25)
    return replace(layer, **others)


@dataclass
class FakeModel:
    """Doubles its input. ``error`` is what ``check`` finds."""

    layers: tuple[LayerRecord, ...] = (
        fake_layer("0"), fake_layer("2", "linear", scheme="dense", predicted_ms=None))
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", (1, 3), "float32"),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", (1, 3), "float32"),)
    arena_bytes: int = 4096
    weight_bytes: int = 10240
    tolerance: float = 1e-4
    error: float = 1e-7
    others: tuple[StatementRecord, ...] = ()
    sample_inputs: list[np.ndarray] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    ran: list[np.ndarray] = field(default_factory=list)

    def run(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        if inputs[0].shape != self.inputs[0].shape:
            raise EspalierError(f"input x expects shape {self.inputs[0].shape}, found {inputs[0].shape}")
        self.threads.append(threads)
        self.ran.append(inputs[0])
        return [2 * inputs[0]]

    def wake_seconds(self) -> float | None:
        return 0.00004

    def profile(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[float]:
        return [seconds for _, seconds in self.timeline(inputs, threads)]

    def timeline(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[tuple[str, float]]:
        labels = [*(layer.name for layer in self.layers), *(other.label for other in self.others)]
        return [(label, 0.001 * (i + 1)) for i, label in enumerate(labels)]

    @property
    def file(self) -> ModelFile:
        manifest = {"inputs": [asdict(x) for x in self.inputs], "outputs": [asdict(x) for x in self.outputs],
                    "target": {"name": "host"}, "error": self.error, "labels": [], "messages": [],
                    "sizes": {"arena": 0, "scratch": 0, "stamps": 0, "weights": 99},
                    "layers": [asdict(layer) for layer in self.layers]}
        return ModelFile(manifest, b"code", np.arange(99, dtype=np.uint8), "0" * 32)

    def save(self, path: str | Path) -> None:
        self.file.write(path)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> FakeModel:
        return cls(error=ModelFile.read(path).manifest["error"])

    def check(self, threads: int = 1) -> float:
        return self.error


@dataclass(frozen=True)
class FakeOptions:
    sparse: bool = True
    eliminate_redundant_loads: bool = True
    check: bool = True
    database: str | None = None


@dataclass
class FakeCompiler:
    """Stands for the public API; ``model`` is what compiling gives, ``seen`` what was asked for."""

    model: FakeModel = field(default_factory=FakeModel)
    torch_model: Any = "model.mlir"
    example: tuple[Any, ...] = (np.ones((1, 3), np.float32),)
    seen: list[Any] = field(default_factory=list)
    failure: BaseException | None = None

    def compile(self, model: Any, inputs: Any, *, options: FakeOptions,
                progress: Callable[[str, int, int], None] | None = None, watch: Any = None,
                batch: Sequence[int] = ()) -> FakeModel:
        self.seen.append((model, options))
        if self.failure is not None:
            raise self.failure
        if progress is not None:
            progress("lowering", 1, 2)
        self.model.sample_inputs = [np.asarray(x) for x in inputs]
        return self.model

    def load_model(self, spec: str, prune: str | None, seed: int,
                   steps: int | None, trust: bool = False, names: Any = None,
                   shapes: Any = None, weights: str = "") -> tuple[Any, tuple[Any, ...]]:
        self.seen.append((spec, prune, seed))
        if spec == "nothing":
            raise EspalierError("unknown model 'nothing'")
        return self.torch_model, self.example

    def install(self, patch: Any) -> FakeCompiler:
        """Puts this compiler in place of the real one while ``patch`` (pytest's monkeypatch) lasts."""
        import espalier
        import espalier.frontends

        patch.setattr(espalier, "compile", self.compile, raising=False)
        patch.setattr(espalier, "CompileOptions", FakeOptions, raising=False)
        patch.setattr(espalier, "CompiledModel", FakeModel, raising=False)
        patch.setattr(espalier.frontends, "load_model", self.load_model, raising=False)
        return self
