"""Which parts of a program in ExecuTorch's edge dialect become Espalier's.

    conv -> relu -> fft -> conv -> linear   ->   [conv, relu: espalier_0] -> fft -> [conv, linear: espalier_1]

Where the program cannot be imported whole, every operation is imported alone to see whether it can be, and
what can is joined to sub-graphs as large as possible. The rest is for the next partitioner (XNNPACK's), or
for the portable kernels.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable

import torch
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from ...pipelines.driver import CompileOptions
from ...pipelines.target import Target
from ..quiet import quiet
from ..torch.partition import eager_nodes, parts, whole_imports
from .backend import EspalierBackend, Settings
from .edge import to_aten

aten = torch.ops.aten
# What edge's decompositions would take apart, and we find whole.
WHOLE = (aten.linear.default, aten.gru.input, aten.lstm.input)


class EspalierPartitioner(Partitioner):
    """
    Gives ExecuTorch's ``to_edge_transform_and_lower`` the largest sub-graphs that Espalier compiles.

    ``target``: the device's CPU (``Target.cross``; None: this machine). ``options``: as ``espalier.compile``
    takes them. ``threads``: what the delegate runs on unless the app says otherwise (0: one a fast core).
    ``linker``: a C compiler for the target instead of zig, such as an NDK's clang. Tensors have static shapes
    and lie in order (no channels-last). Raises ``EspalierError`` for targets that are no CPU.
    """

    def __init__(self, target: Target | None = None, *, options: CompileOptions | None = None,
                 threads: int = 1, linker: str = "") -> None:
        super().__init__()
        here = target or Target.cross(f"{platform.machine()}-linux-gnu", "native")
        self._settings = Settings(here, options or CompileOptions(), threads, linker)

    def ops_to_not_decompose(
            self, ep: ExportedProgram,
    ) -> tuple[list[torch._ops.OpOverload], Callable[[Node], bool] | None]:
        """Operators that stay whole."""
        return list(WHOLE), None

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tags the nodes of ``exported_program`` that become Espalier's, each sub-graph with its own tag."""
        module = exported_program.graph_module
        signature = exported_program.graph_signature
        weights = {*signature.inputs_to_parameters, *signature.inputs_to_lifted_tensor_constants,
                   *(name for name, buffer in signature.inputs_to_buffers.items()
                     if buffer not in signature.buffers_to_mutate.values())}
        plain = torch.fx.GraphModule(module, copy.deepcopy(module.graph))
        to_aten(plain.graph)
        with quiet():
            eager = {} if whole_imports(plain, weights) else eager_nodes(plain, weights)
        eager |= {node.name: str(node.target) for node in module.graph.nodes if not _lies_in_order(node)}
        tags = {}
        for number, part in enumerate(parts(module, eager)[1]):
            tag = f"espalier_{number}"
            tags[tag] = DelegationSpec(EspalierBackend.__name__, self._settings.specs())
            for node in part.nodes:
                node.meta["delegation_tag"] = tag
        tag_constant_data(exported_program)
        return PartitionResult(exported_program, tags)


def _lies_in_order(node: Node) -> bool:
    """Whether ExecuTorch keeps all that the node takes and gives with the last dimension closest."""
    tensors = [leaf for one in (node, *node.all_input_nodes) for leaf in tree_leaves(one.meta.get("val"))
               if isinstance(leaf, torch.Tensor)]
    return all(tensor.dim_order() == tuple(range(tensor.dim())) for tensor in tensors)


__all__ = ["WHOLE", "EspalierPartitioner"]
