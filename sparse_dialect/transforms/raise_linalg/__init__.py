"""``sparse-raise-linalg``: layers, pools and what is fused into them, out of linalg."""

from .raise_linalg import RaiseLinalgPass

__all__ = ["RaiseLinalgPass"]
