"""``sparse-protect-inputs``: bufferization must not write into a public function's inputs, the caller's.

    func.func @main(%x: tensor<4xf32>)
    -> func.func @main(%x: tensor<4xf32> {bufferization.writable = false})
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.mlir import ir
from ...passes import Pass, PassContext
from .arguments import public_functions


@dataclass(frozen=True)
class ProtectInputsPass(Pass):
    """
    Marks every tensor that a public function takes as one that its code may not write to.
    """

    name = "sparse-protect-inputs"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        with op.context:
            read_only = {"bufferization.writable": ir.BoolAttr.get(False)}
            for function in public_functions(op):
                attributes = function.operation.attributes
                arguments = function.regions[0].blocks[0].arguments
                known = attributes["arg_attrs"] if "arg_attrs" in attributes else [{}] * len(arguments)
                marked = []
                for argument, entry in zip(arguments, known, strict=True):
                    own = {named.name: named.attr for named in entry}
                    is_tensor = isinstance(argument.type, ir.RankedTensorType)
                    marked.append(ir.DictAttr.get({**own, **(read_only if is_tensor else {})}))
                    context.statistics["inputs protected"] += is_tensor
                attributes["arg_attrs"] = ir.ArrayAttr.get(marked)
