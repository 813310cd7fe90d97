"""What fits in a GPU's registers: the profiles of ``--gpu-profile``.

The sizes come from Mesa's compilers for Adreno and Mali, run without the hardware: 32 sums in f32 fit in the
registers of all of them, 56 in those of Adreno 7xx alone, and dense kernels of 32 spill on Mali. ``generic``
is every other GPU, desktops' and software ones, which have registers enough (measured on lavapipe: sparse
kernels of 56 sums are the fastest, dense ones gain a quarter from 32 to 64).
"""

from __future__ import annotations

from dataclasses import dataclass

from ....errors import unknown


@dataclass(frozen=True)
class Profile:
    """``accumulators``: sums that a thread of a sparse kernel keeps; ``dense``: of a dense one, for
    ``dense_filters`` filters."""

    accumulators: int
    dense: int
    dense_filters: int


PROFILES = {
    "generic": Profile(56, 64, 4),
    "adreno": Profile(56, 32, 4),
    "adreno6": Profile(32, 32, 4),
    "mali": Profile(32, 16, 2),
}


def profile_named(name: str) -> Profile:
    """The profile of that name; ``EspalierError`` where there is none."""
    if name not in PROFILES:
        raise unknown("GPU profile", name, PROFILES)
    return PROFILES[name]
