"""Reference networks: torchvision's architectures and state-dict names (C3D's are those of its usual port),
seeded weights, optionally pruned.

Nothing here imports torch before a network is asked for, so that listing the names stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import EspalierError, optional, unknown
from ..pruning.names import Names
from ..pruning.spec import parse_specs

if TYPE_CHECKING:
    import torch

IMAGE, CLIP, FRAMES = (1, 3, 224, 224), (1, 3, 16, 112, 112), (100, 1, 153)


@dataclass(frozen=True)
class Network:
    """The module of this package with the function that builds a network (of its name), and the shape of its
    input, whose first size is the number of time steps where ``steps`` says so."""

    module: str
    shape: tuple[int, ...]
    steps: bool = False


NETWORKS = {
    "vgg16": Network("vgg", IMAGE), "resnet18": Network("resnet", IMAGE),
    "resnet50": Network("resnet", IMAGE), "mobilenet_v2": Network("mobilenet", IMAGE),
    "c3d": Network("c3d", CLIP), "r2plus1d_18": Network("r2plus1d", CLIP), "s3d": Network("s3d", CLIP),
    "gru": Network("recurrent", FRAMES, steps=True), "lstm": Network("recurrent", FRAMES, steps=True)}


def reference_model(name: str, prune: str | None = None, seed: int = 0, steps: int | None = None,
                    names: Names | None = None) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The network ``name`` in eval mode and its example input, f32 [1, 3, 224, 224] for images, [1, 3, 16,
    112, 112] for clips and [steps, 1, 153] for frames of speech, both from ``seed``.

    ``prune`` is a specification such as ``pattern:entries=4,patterns=8,connectivity=3.6,linear=8``, for the
    layers that ``names`` chooses. The number of ``steps`` (100 by default) is marked as free. Raises
    ``EspalierError`` for an unknown name or specification, and for steps of a network that has none.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    if steps is not None and not NETWORKS[name].steps:
        raise EspalierError(f"'{name}' has no time steps: leave out --steps")
    specs = parse_specs(prune) if prune else ()  # first, since making weights takes long
    torch = optional("torch", f"the network {name}")

    from ..pruning.project import prune_module
    from .seeding import seed_weights

    with torch.device("meta"):  # torch's own initialisation would take longer than ours
        module = getattr(import_module(f".{NETWORKS[name].module}", __name__), name)()
    module = module.to_empty(device="cpu").eval()
    seed_weights(module, seed)
    prune_module(module, specs, names)
    first, *others = NETWORKS[name].shape
    x = torch.randn((steps or first, *others), generator=torch.Generator().manual_seed(seed))
    if NETWORKS[name].steps:
        torch._dynamo.mark_dynamic(x, 0)
    return module, (x,)
