"""The ``sparse`` dialect: ops by family, attributes, verifiers and IRDL."""

from . import recurrent  # noqa: F401 - the dialect has its ops as well
from .dialect import irdl_text, register_dialect

__all__ = ["irdl_text", "register_dialect"]
