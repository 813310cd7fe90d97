"""Passes on tensors, one a file. ``PASSES`` lists their stems in pipeline order (see ``passes.py``)."""

PASSES = ("set-target", "fold-empty", "split-crops", "guard-indices", "guard-divisions", "raise-linalg",
          "detect-schemes", "look-up-schedules", "schedule-layers", "reorder-filters", "compress-weights",
          "assign-layouts", "halve-precision", "fuse-depthwise")
