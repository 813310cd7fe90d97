"""The ``sparse`` dialect, its schemes, passes and lowerings. Imports nothing else of Espalier."""

from .dialect import irdl_text, register_dialect
from .errors import EspalierError, PassError

__all__ = ["EspalierError", "PassError", "irdl_text", "register_dialect"]
