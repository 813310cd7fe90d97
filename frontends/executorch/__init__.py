"""ExecuTorch: programs of which Espalier compiles the largest parts that it can, as a delegate.

    lowered = to_edge_transform_and_lower(torch.export.export(module, inputs),
                                          partitioner=[EspalierPartitioner(Target.cross(...))])
    lowered.to_executorch().save("net.pte")

``load_backend`` gives this process the delegate, so that ExecuTorch's Python runtime runs such files.
"""

from ...runtime.integrations.executorch import load as load_backend
from .partitioner import EspalierPartitioner

__all__ = ["EspalierPartitioner", "load_backend"]
