"""Passes that lower to the CPU, one a file. ``PASSES`` lists their stems in pipeline order (``passes.py``).

``families/`` says which layers a micro-kernel takes and what is to choose, ``kernels/`` holds their code,
one a file, ``plan/`` what they compute beforehand in numpy, ``emit/`` what they write code with.
"""

PASSES = ("schedule-tiles", "lower-to-vector", "distribute-work", "outline-loops", "outline-dispatches",
          "export-entry", "check-code")
