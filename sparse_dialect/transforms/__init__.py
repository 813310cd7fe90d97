"""Passes on tensors, one a file. ``PASSES`` lists their stems in pipeline order (see ``passes.py``)."""

PASSES = ("raise-linalg", "detect-schemes", "select-kernels", "reorder-filters", "compress-weights",
          "assign-layouts", "halve-precision", "fuse-depthwise")
