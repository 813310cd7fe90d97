"""``compile`` proves its code: the recorded input runs through it and must give PyTorch's output.

Where it does not, the layers are bisected: the first k of them run by their micro-kernels and all others by
the reference lowering, for the smallest k that fails. Layer k is then the first that differs, and the error
names it; nothing is handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import EspalierError
from ..pipelines.driver import CompileOptions, compile_linalg
from ..pipelines.target import Target
from ..runtime.compiled_model import CompiledModel
from ..runtime.model_file import ModelFile
from ..runtime.states import named_states
from ..sparse_dialect.ir.mlir import ir

REMEDY = "please report it; --no-check (CompileOptions(check=False)) hands the code out all the same"


def check(compiled: CompiledModel, file: ModelFile, again: Callable[[], ir.Module], target: Target,
          options: CompileOptions) -> None:
    """Raises ``EspalierError`` where ``compiled`` is further from ``file``'s recorded output than its
    tolerance; ``again`` imports the model anew, to find the layer."""
    error = compiled.check()
    if error <= compiled.tolerance:
        return
    bound = f"{error:.1e} of the largest output, at most {compiled.tolerance:.0e} is allowed"

    inputs = [spec["name"] for spec in file.manifest["inputs"]]
    states = inputs[len(inputs) - file.manifest.get("states", 0):]

    def error_of(kernels: int) -> float:
        part = compile_linalg(again(), replace(options, kernels=kernels), target)
        manifest = {**part.manifest, **named_states(part.manifest, states)}
        return CompiledModel(replace(part, manifest=manifest, sample_inputs=file.sample_inputs,
                                     sample_outputs=file.sample_outputs, states=file.states)).check()

    layers = [layer for layer in compiled.layers if not layer.reason.startswith("reference:")]
    apart = error_of(0)
    if apart > compiled.tolerance or not layers:
        raise EspalierError(f"the compiled code differs from PyTorch by {bound}; no layer's kernel does, "
                            f"but what lies around them (error {apart:.1e} with reference layers); {REMEDY}")
    good, bad, worst = 0, len(layers), error
    while bad - good > 1:
        middle = (good + bad) // 2
        found = error_of(middle)
        if found > compiled.tolerance:
            bad, worst = middle, found
        else:
            good = middle
    layer = layers[bad - 1]
    raise EspalierError(f"the compiled code differs from PyTorch by {bound}; the first layer that differs is "
                        f"'{layer.name}' ({layer.op}, {layer.shape}, {layer.kernel}): error {worst:.1e} with "
                        f"its kernel; {REMEDY}")
