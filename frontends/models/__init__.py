"""Reference networks: torchvision's architectures and state-dict names, seeded weights, optionally pruned.

Nothing here imports torch before a network is asked for, so that listing the names stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ...sparse_dialect.errors import EspalierError
from ..pruning.spec import parse_specs

if TYPE_CHECKING:
    import torch

NETWORKS: dict[str, str] = {  # name (and the function that builds it) -> module of this package
    "vgg16": "vgg", "resnet18": "resnet", "resnet50": "resnet", "mobilenet_v2": "mobilenet"}
INPUT_SHAPE = (1, 3, 224, 224)


def reference_model(name: str, prune: str | None = None,
                    seed: int = 0) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The network ``name`` in eval mode and its example input, f32 [1, 3, 224, 224], both from ``seed``.

    ``prune`` is a specification such as ``pattern:entries=4,patterns=8,connectivity=3.6,linear=8``. Raises
    ``EspalierError`` for an unknown name or specification.
    """
    if name not in NETWORKS:
        raise EspalierError(f"unknown network '{name}': expected one of {', '.join(NETWORKS)}")
    specs = parse_specs(prune) if prune else ()  # first, since making weights takes long
    import torch

    from ..pruning.project import prune_module
    from .seeding import seed_weights

    with torch.device("meta"):  # torch's own initialisation would take longer than ours
        module = getattr(import_module(f".{NETWORKS[name]}", __name__), name)()
    module = module.to_empty(device="cpu").eval()
    seed_weights(module, seed)
    prune_module(module, specs)
    return module, (torch.randn(INPUT_SHAPE, generator=torch.Generator().manual_seed(seed)),)
