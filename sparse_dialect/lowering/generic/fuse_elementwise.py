"""``sparse-fuse-elementwise``: a chain of linalg operations that move or map elements becomes one.

    %t = linalg.transpose ins(%x) outs(%e) permutation = [1, 0]
    %y = linalg.generic ins(%t) outs(%e) { math.tanh }
    -> %y = linalg.generic {maps = [(i, j) -> (j, i), (i, j) -> (i, j)]} ins(%x) outs(%e) { math.tanh }

Upstream's ``linalg-fuse-elementwise-ops`` does it, for generic operations alone. Matrix products and
convolutions keep their names: fused into one, a producer would be computed again for every product; where
upstream takes the name away, to move a reshape, ``split_products`` takes the producer out again. A matrix
that was only transposed for one is read where it lies. Functions with loops that carry tensors are left as
they are: there fusion replaces the buffer that is carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.mlir import bindings, ir, passmanager
from ...ir.walk import blocks, mentions
from ...passes import Pass, PassContext
from .split_products import read_transposed, split_products
from .take_out import take_out_same

interpreter: Any = bindings("dialects.transform.interpreter")

NAMES = ("abs", "add", "broadcast", "ceil", "copy", "div", "div_unsigned", "elementwise", "erf", "exp",
         "fill", "floor", "log", "map", "max", "min", "mul", "negf", "powf", "reciprocal", "reduce", "round",
         "rsqrt", "select", "sqrt", "square", "sub", "tanh", "transpose")
FUSION = "any(canonicalize,linalg-fuse-elementwise-ops,canonicalize,cse)"
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
class FuseElementwisePass(Pass):
    """
    Writes linalg's named elementwise operations, reductions, fills, broadcasts and transposes as
    linalg.generic (upstream's transform dialect does it), and fuses those of every function.
    """

    name = "sparse-fuse-elementwise"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        names = ", ".join(f'"linalg.{name}"' for name in NAMES)
        with op.context:
            script = ir.Module.parse(SCRIPT.format(names=names))
            sequence = script.body.operations[0]
            interpreter.apply_named_sequence(op, sequence, script)
            for view in op.regions[0].blocks[0].operations:
                if view.operation.name == "func.func" and _to_fuse(view.operation):
                    _fuse(view.operation, context)


def _to_fuse(function: ir.Operation) -> bool:
    return mentions(function, "linalg.") and not _carries_tensors(function)


def _fuse(function: ir.Operation, context: PassContext) -> None:
    kept = len(_unread(function))
    passmanager.PassManager.parse(FUSION).run(function)
    if not kept:
        _erase_unread(function)
    with ir.Location.unknown():
        context.statistics["products split"] += split_products(function)
        context.statistics["read transposed"] += read_transposed(function)
        context.statistics["taken out"] += take_out_same(function)


def _unread(function: ir.Operation) -> list[ir.Operation]:
    """The generic operations whose results nothing reads, last ones first; they assert something."""
    return [op.operation for block in blocks(function) for op in reversed(list(block.operations))
            if op.operation.name == "linalg.generic"
            and not any(list(result.uses) for result in op.operation.results)
            and any(inner.operation.name == "cf.assert" for inner in op.regions[0].blocks[0].operations)]


def _erase_unread(function: ir.Operation) -> None:
    """Erases what was fused into its readers, which assert what it asserted: upstream leaves it for that."""
    while unread := _unread(function):
        for op in unread:
            op.erase()


def _carries_tensors(function: ir.Operation) -> bool:
    """Whether a loop or branch inside ``function`` has a tensor as its result."""
    return any(isinstance(result.type, ir.RankedTensorType) for block in blocks(function)
               for op in block.operations if op.operation.name.startswith("scf.")
               for result in op.operation.results)
