"""Sparsity schemes: what a mask looks like, how it is stored, what it costs. One class a file, numpy only.

``SCHEMES`` lists them in the order of the imports below: structured first, dense last.
"""

from .kgs import Kgs  # isort: skip
from .bcr import Bcr  # isort: skip
from .connectivity import Connectivity  # isort: skip
from .pattern import Pattern, natural_library  # isort: skip
from .unstructured import Unstructured  # isort: skip
from .dense import Dense  # isort: skip
from ..storage.column_groups import SharedColumns
from ..storage.filter_order import filter_order
from .scheme import SCHEMES, Cost, Scheme

__all__ = ["SCHEMES", "Bcr", "Connectivity", "Cost", "Dense", "Kgs", "Pattern", "Scheme",
           "SharedColumns", "Unstructured", "filter_order", "natural_library"]
