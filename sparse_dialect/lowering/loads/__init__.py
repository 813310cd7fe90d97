"""Loads: redundant ones go (LRE), the others are placed. ``PASSES`` lists stems in pipeline order."""

PASSES = ("eliminate-redundant-loads", "schedule-loads", "expand-gathers")
