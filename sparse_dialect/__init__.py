"""The ``sparse`` dialect, its schemes, passes and lowerings. Imports nothing else of Espalier."""

from . import recurrent_ops  # noqa: F401 - the dialect has its ops as well
from .dialect import irdl_text, register_dialect
from .errors import EspalierError, PassError

__all__ = ["EspalierError", "PassError", "irdl_text", "register_dialect"]
