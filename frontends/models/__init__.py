"""Reference networks: torchvision's architectures and state-dict names (C3D's are those of its usual port),
seeded weights, optionally pruned.

Nothing here imports torch before a network is asked for, so that listing the names stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ...sparse_dialect.errors import EspalierError
from ..pruning.spec import parse_specs

if TYPE_CHECKING:
    import torch

IMAGE, CLIP = (1, 3, 224, 224), (1, 3, 16, 112, 112)


@dataclass(frozen=True)
class Network:
    """The module of this package with the function that builds a network (of its name), and the shape of its
    input."""

    module: str
    shape: tuple[int, ...]


NETWORKS = {
    "vgg16": Network("vgg", IMAGE), "resnet18": Network("resnet", IMAGE),
    "resnet50": Network("resnet", IMAGE), "mobilenet_v2": Network("mobilenet", IMAGE),
    "c3d": Network("c3d", CLIP), "r2plus1d_18": Network("r2plus1d", CLIP), "s3d": Network("s3d", CLIP)}


def reference_model(name: str, prune: str | None = None,
                    seed: int = 0) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The network ``name`` in eval mode and its example input, f32 [1, 3, 224, 224] for images and [1, 3, 16,
    112, 112] for clips, both from ``seed``.

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
        module = getattr(import_module(f".{NETWORKS[name].module}", __name__), name)()
    module = module.to_empty(device="cpu").eval()
    seed_weights(module, seed)
    prune_module(module, specs)
    return module, (torch.randn(NETWORKS[name].shape, generator=torch.Generator().manual_seed(seed)),)
