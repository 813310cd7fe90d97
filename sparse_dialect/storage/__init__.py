"""What weights are kept in: pack, unpack and sizes of every storage, by name in ``STORAGES``."""

from .bcrc import Bcrc
from .column_groups import ColumnGroups
from .csr import Csr
from .dense import DenseKernels, DenseRows
from .fkw import Fkw
from .kept_rows import KeptRows
from .kgs import KgsArrays
from .sell import Sell
from .storage import STORAGES, Packed, Storage

__all__ = ["STORAGES", "Bcrc", "ColumnGroups", "Csr", "DenseKernels", "DenseRows", "Fkw", "KeptRows",
           "KgsArrays", "Packed", "Sell", "Storage"]
