"""The micro-kernel families of CPUs: the one list of them, which a new one is a line of.

    natural(a 3x3 convolution, Pattern)  ->  {"micro_kernel": "kernel_classes", "storage": "fkw"}

The dialect checks names by this list, schedulers ask the families themselves. These are imported when they
are first asked for, as passes are: whoever only reads IR needs no code generator.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..geometry.convolution import Convolution
    from ..lowering.cpu.families.family import KernelFamily
    from ..schemes import Scheme

# By name: the class, in a module of lowering/cpu/families.
FAMILIES = {
    "kernel_classes": "convolutions.KernelClasses",
    "column_groups": "convolutions.SharedColumnGroups",
    "depthwise": "channelwise.Depthwise",
    "fused_depthwise": "channelwise.FusedDepthwise",
    "dense_rows": "matrices.DenseRowsFamily",
    "sell": "matrices.SellFamily",
    "recurrent": "matrices.Recurrent",
    "pools": "channelwise.Pools",
}


@cache
def family_named(name: str) -> KernelFamily:
    """The family of that name, one of ``FAMILIES``."""
    module, _, class_name = FAMILIES[name].rpartition(".")
    package = __package__.rpartition(".")[0]
    family: KernelFamily = getattr(import_module(f"{package}.lowering.cpu.families.{module}"), class_name)()
    return family


def families() -> tuple[KernelFamily, ...]:
    """All of them, in their order."""
    return tuple(map(family_named, FAMILIES))


def natural(convolution: Convolution | None, scheme: Scheme, steps: bool = False) -> dict[str, str]:
    """The micro-kernel and the storage of a layer that runs with ``scheme``, a matrix where there is no
    ``convolution``, a recurrent layer's where it has ``steps``: of the first family that is made for it."""
    for family in families():
        storage = family.stores(convolution, scheme, steps)
        if storage is not None:
            return {"micro_kernel": family.name, "storage": storage}
    raise AssertionError(f"no family takes weights of the scheme {scheme.name}")
