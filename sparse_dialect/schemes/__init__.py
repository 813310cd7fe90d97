"""Sparsity schemes: what a mask looks like, how it is stored, what it costs. One class a file, numpy only.

``detect_scheme`` tries them in the order of the imports below: structured first, dense last.
"""

from .connectivity import Connectivity  # isort: skip
from .pattern import Pattern, natural_library  # isort: skip
from .unstructured import Unstructured  # isort: skip
from .dense import Dense  # isort: skip
from .reorder import filter_order
from .scheme import SCHEMES, Cost, Detection, Scheme, detect_scheme, explain_scheme

__all__ = ["SCHEMES", "Connectivity", "Cost", "Dense", "Detection", "Pattern", "Scheme", "Unstructured",
           "detect_scheme", "explain_scheme", "filter_order", "natural_library"]
