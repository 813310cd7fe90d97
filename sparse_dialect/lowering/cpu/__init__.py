"""Passes that lower to the CPU, one a file. ``PASSES`` lists their stems in pipeline order (``passes.py``).

``kernels/`` holds one micro-kernel family a file, ``plan/`` what they compute beforehand in numpy, ``emit/``
what they write code with.
"""

PASSES = ("schedule-tiles", "lower-to-vector", "distribute-work", "export-entry")
