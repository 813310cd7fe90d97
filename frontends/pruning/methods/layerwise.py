"""Layer-wise reconstruction (``layerwise/reconstruct.py``): has no epochs, but needs calibration data."""

from __future__ import annotations

from typing import ClassVar

from .one_shot import OneShotMethod


class LayerwiseMethod(OneShotMethod):
    """The masks are made by ``Sparsifier.calibrate``, before the first step."""

    name: ClassVar[str] = "layerwise"
    needs_data: ClassVar[bool] = True
