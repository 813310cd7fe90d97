"""``python -m espalier.sparse_dialect --irdl``: the dialect as IRDL, for ``mlir-opt --irdl-file=FILE``."""

from __future__ import annotations

import sys

from .dialect.dialect import irdl_text

if sys.argv[1:] != ["--irdl"]:
    sys.exit("usage: python -m espalier.sparse_dialect --irdl")
print(irdl_text())
