"""torch-mlir's own dialect to linalg on tensors, by torch-mlir's passes.

    torch.aten.relu %x : !torch.vtensor<[1,8],f32>   ->   linalg.generic ... tensor<1x8xf32>

Whatever came in, from PyTorch, ONNX or a file, errors name the layer and the operation. Needs no PyTorch.
"""

from __future__ import annotations

import re

from ...errors import EspalierError
from ...sparse_dialect.dialect.dialect import register_dialect
from ...sparse_dialect.ir.mlir import PACKAGE, bindings, ir, passmanager
from ...sparse_dialect.ir.walk import blocks
from ..mlir_file import first_line
from .crops import split_crops
from .gelu import write_out_gelu
from .nan import keep_nan
from .recurrent_calls import calls_of_operators, ops_of_calls

TO_BACKEND = ("builtin.module(func.func(torch-match-quantized-custom-ops),"
              "torchdynamo-export-to-torch-backend-pipeline{extra-library=})")
TO_LINALG = "builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline{allow-non-finites=true})"
BACKEND_CHECK = "torch-verify-linalg-on-tensors-backend-contract"  # knows no calls


def new_context(purpose: str) -> ir.Context:
    """A context with torch-mlir's dialects and ours; ``EspalierError`` where other bindings are in use."""
    if PACKAGE != "torch_mlir":
        raise EspalierError(f"{purpose} needs the torch_mlir bindings, found '{PACKAGE}'; "
                            "unset ESPALIER_MLIR_PACKAGE")
    context = ir.Context()
    bindings("dialects.torch").register_dialect(context)
    register_dialect(context)
    return context


def to_linalg(module: ir.Module, to_backend: str = TO_BACKEND) -> None:
    """Lowers ``module`` to linalg on tensors, in place; ``to_backend`` is a pipeline that ends in operators
    of PyTorch that torch-mlir can lower. Raises ``EspalierError`` for operations that it cannot (named)."""
    calls_of_operators(module)
    run(module, to_backend)
    _check_samplers(module)
    split_crops(module)
    write_out_gelu(module)
    run(module, TO_LINALG)
    _check_lowered(module)
    ops_of_calls(module)
    keep_nan(module)


def mark_unsigned(module: ir.Module, unsigned: tuple[list[int], list[int]]) -> None:
    """Sets ``espalier.unsigned`` of the function ``main`` to the positions of inputs and outputs."""
    with module.context:
        main = next(op for op in module.body.operations if op.operation.name == "func.func"
                    and ir.StringAttr(op.attributes["sym_name"]).value == "main")
        pairs = zip(("input", "output"), unsigned, strict=True)
        main.attributes["espalier.unsigned"] = ir.DictAttr.get(
            {kind: ir.DenseI64ArrayAttr.get(places) for kind, places in pairs})


def run(module: ir.Module, pipeline: str) -> None:
    """Runs a pass pipeline; a failure becomes one line that names the operation and the layer."""
    complaints: list[tuple[str, str]] = []

    def keep(diagnostic: ir.Diagnostic) -> bool:
        complaints.append((str(diagnostic.location), diagnostic.message))
        return True

    with module.context as context:
        context.emit_error_diagnostics = True  # for passes that report and do not fail
        handler = context.attach_diagnostic_handler(keep)
        try:
            passes = str(passmanager.PassManager.parse(pipeline)).replace(f",{BACKEND_CHECK}", "")
            passmanager.PassManager.parse(passes).run(module.operation)
        except ir.MLIRError as error:
            raise EspalierError(_complaint(module, complaints) or first_line(error)) from error
        finally:
            handler.detach()
            context.emit_error_diagnostics = False


def _complaint(module: ir.Module, complaints: list[tuple[str, str]]) -> str:
    """The first complaint; if that is of a constant, which a pass left since it left its reader, the first
    operation that is left."""
    if not complaints:
        return ""
    location, message = complaints[0]
    if "'torch.constant." in message or "'torch.vtensor.literal'" in message:
        found = next((op for block in blocks(module.operation) for op in block.operations
                      if op.operation.name.startswith(("torch.aten.", "torch.prims."))), None)
        if found is not None:
            location, message = str(found.operation.location), found.operation.name
    return _unsupported(location, message)


def _check_samplers(module: ir.Module) -> None:
    """No sampling of images by a grid, whose lowering in torch-mlir reads memory beyond them: PyTorch's and
    ONNX's are other operations by now."""
    for block in blocks(module.operation):
        for view in block.operations:
            if view.operation.name == "torch.aten.grid_sampler":
                raise EspalierError(_unsupported(str(view.operation.location), view.operation.name))


def _check_lowered(module: ir.Module) -> None:
    """Nothing of torch-mlir's own dialects is left; its pipeline's own check knows no calls."""

    def left(op: ir.Operation) -> ir.Operation | None:
        if op.name.startswith(("torch.", "torch_c.")):
            return op
        inner = (o.operation for r in op.regions for b in r.blocks for o in b.operations)
        return next(filter(None, map(left, inner)), None)

    found = left(module.operation)
    if found is not None:
        raise EspalierError(_unsupported(str(found.location), found.name))


def _unsupported(location: str, message: str) -> str:
    """What a torch-mlir diagnostic means: the layer and the operation, or else the message's first line."""
    layer = re.search(r'loc\("([^"]+)"\(', location)
    where = f"layer '{layer[1]}': " if layer else ""
    operation = re.search(r"torch\.((?:aten|prims|prim|torchvision)\.[\w.]+)", message)
    if operation:
        return f"{where}PyTorch operation '{operation[1]}' is not supported by torch-mlir"
    return f"{where}torch-mlir cannot lower the program: {message.strip().splitlines()[0]}"


__all__ = ["mark_unsigned", "new_context", "run", "to_linalg"]
