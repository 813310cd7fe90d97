"""Passes that lower to the CPU, one a file. ``PASSES`` lists their stems in pipeline order (see
``passes.py``)."""

PASSES = ("lower-to-vector", "eliminate-redundant-loads", "schedule-loads", "expand-gathers",
          "adopt-buffers", "separate-results", "expand-copies", "externalize-constants", "record-assertions",
          "distribute-work", "plan-memory", "export-entry")
