"""``sparse-generalize-elementwise``: linalg operations that move or map elements become linalg.generic.

    linalg.transpose ins(%x) outs(%e) permutation = [1, 0]  ->  linalg.generic {maps} ins(%x) outs(%e)

Upstream's ``linalg-fuse-elementwise-ops`` fuses generic operations alone. Matrix products and convolutions
keep their names: fused into one, a producer would be computed again for every product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir
from ...passes import Pass, PassContext

interpreter: Any = bindings("dialects.transform.interpreter")

NAMES = ("abs", "add", "broadcast", "ceil", "copy", "div", "div_unsigned", "elementwise", "erf", "exp",
         "fill", "floor", "log", "map", "max", "min", "mul", "negf", "powf", "reciprocal", "reduce", "round",
         "rsqrt", "select", "sqrt", "square", "sub", "tanh", "transpose")
SCRIPT = """
module attributes {{transform.with_named_sequence}} {{
  transform.named_sequence @__transform_main(%root: !transform.any_op {{transform.readonly}}) {{
    %found = transform.structured.match ops{{[{names}]}} in %root : (!transform.any_op) -> !transform.any_op
    %generic = transform.structured.generalize %found : (!transform.any_op) -> !transform.any_op
    transform.yield
  }}
}}
"""


@dataclass(frozen=True)
class GeneralizeElementwisePass(Pass):
    """
    Writes linalg's named elementwise operations, reductions, fills, broadcasts and transposes as
    linalg.generic (upstream's transform dialect does it).
    """

    name = "sparse-generalize-elementwise"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        names = ", ".join(f'"linalg.{name}"' for name in NAMES)
        with op.context:
            script = ir.Module.parse(SCRIPT.format(names=names))
            sequence = script.body.operations[0]
            interpreter.apply_named_sequence(op, sequence, script)
