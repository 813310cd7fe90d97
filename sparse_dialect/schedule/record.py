"""What is known of one layer but decides nothing: the value behind ``#sparse.record<{...}>``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """
    What the report shows: the ``layer``'s name, the scheme that its mask was ``detected`` to follow, the
    ``reason`` why it runs as it does, and ``fused_into``, the layer in whose measured time its own is.

    Of a packed layer the bytes of its dense weights in f32 and of what is stored, index arrays apart too; how
    many weights are not zero, and how many are stored.
    """

    layer: str = ""
    detected: str = ""
    reason: str = ""
    fused_into: str = ""
    dense_bytes: int = 0
    packed_bytes: int = 0
    index_bytes: int = 0
    nonzeros: int = 0
    stored: int = 0
