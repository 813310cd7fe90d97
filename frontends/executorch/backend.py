"""What ``to_backend`` calls for a sub-graph of the partitioner's: compiled ahead of time, one model file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from executorch.exir.backend.backend_details import BackendDetails, PreprocessResult
from executorch.exir.backend.compile_spec_schema import CompileSpec
from torch.export import ExportedProgram

from ...errors import EspalierError
from ...pipelines.codegen.emit import Products
from ...pipelines.driver import CompileOptions
from ...pipelines.target import VULKAN, Target
from ..compile import compile_file
from .edge import aten_program

SYMBOL = "model"  # the delegate loads espalier_model_model
THREADS = "num_threads"  # as backend.cpp reads it
SETTINGS = "espalier"


@dataclass(frozen=True)
class Settings:
    """
    How sub-graphs are compiled, as it travels through ``to_backend``.

    ``target`` names a triple; ``threads``: see ``espalier_set_threads``; ``linker``: a compiler driver
    instead of zig.
    """

    target: Target
    options: CompileOptions
    threads: int = 1
    linker: str = ""

    def __post_init__(self) -> None:
        if not self.target.triple or self.target.triple == VULKAN:
            raise EspalierError("ExecuTorch's delegate expects a CPU to compile for ahead of time, such as "
                                "Target.cross('aarch64-linux-android', 'cortex-a76')")
        if self.threads < 0:
            raise EspalierError(f"threads: expected 0 or more, found {self.threads}")

    def specs(self) -> list[CompileSpec]:
        """As ExecuTorch's compile specs; the .pte file keeps them."""
        text = json.dumps({"target": asdict(self.target), "options": asdict(self.options),
                           "linker": self.linker})
        return [CompileSpec(SETTINGS, text.encode()), CompileSpec(THREADS, str(self.threads).encode())]

    @staticmethod
    def of(specs: list[CompileSpec]) -> Settings:
        """The settings in ``specs``; ``EspalierError`` where they are not the partitioner's."""
        found = {spec.key: bytes(spec.value) for spec in specs}
        if SETTINGS not in found or THREADS not in found:
            raise EspalierError("ExecuTorch's delegate expects the compile specs of an EspalierPartitioner")
        said: dict[str, Any] = json.loads(found[SETTINGS])
        target = {**said["target"], "features": tuple(said["target"]["features"])}
        options = {field.name: said["options"][field.name] for field in fields(CompileOptions)}
        return Settings(Target(**target), CompileOptions(**options), int(found[THREADS]), said["linker"])


class EspalierBackend(BackendDetails):
    """Compiles sub-graphs; the device's part is ``runtime/integrations/executorch/backend.cpp``."""

    @staticmethod
    def preprocess(edge_program: ExportedProgram, compile_specs: list[CompileSpec]) -> PreprocessResult:
        """
        The sub-graph as a compiled-model file without a recorded run.

        Inputs and outputs are the program's own, in their order. Raises ``EspalierError`` as
        ``espalier.compile`` does.
        """
        settings = Settings.of(compile_specs)
        file = compile_file(aten_program(edge_program), (), settings.target, settings.options)
        products = Products(file, settings.target, SYMBOL, settings.linker)
        return PreprocessResult(processed_bytes=products.library().to_bytes(),
                                debug_handle_map=_debug_handles(edge_program, file.manifest["labels"]))


def _debug_handles(program: ExportedProgram, labels: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The debug handles of the nodes behind each label, for ExecuTorch's Inspector: those of the module that
    the label names, or of the one node."""
    handles: dict[str, set[int]] = {}
    for node in program.graph.nodes:
        if (handle := node.meta.get("debug_handle")) is not None:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            path = str(stack[-1][0]).removeprefix("L['self'].") if stack else ""
            handles.setdefault(path or node.name, set()).add(handle)
    found = {label: handles.get(label.partition(":")[0], ()) for label in labels}
    return {label: tuple(sorted(numbers)) for label, numbers in found.items() if numbers}


__all__ = ["THREADS", "EspalierBackend", "Settings"]
