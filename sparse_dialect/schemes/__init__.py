"""Sparsity schemes: what masks look like, and projections onto them. One class a file, numpy only.

``SCHEMES`` lists them in the order of the imports below: structured first, dense last.
"""

from .kgs import Kgs  # isort: skip
from .bcr import Bcr  # isort: skip
from .structured import Structured  # isort: skip
from .connectivity import Connectivity  # isort: skip
from .pattern import Pattern, natural_library  # isort: skip
from .n_m import NM  # isort: skip
from .empty import Empty  # isort: skip
from .unstructured import Unstructured  # isort: skip
from .dense import Dense  # isort: skip
from .filter_order import filter_order
from .scheme import SCHEMES, Scheme
from .shared_columns import SharedColumns

__all__ = ["NM", "SCHEMES", "Bcr", "Connectivity", "Dense", "Empty", "Kgs", "Pattern", "Scheme",
           "SharedColumns", "Structured", "Unstructured", "filter_order", "natural_library"]
