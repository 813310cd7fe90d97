"""Everything that is no sparse layer, from linalg to vector code that threads share.

``PASSES`` lists stems in pipeline order.
"""

PASSES = ("fuse-elementwise", "lower-sorts", "lower-scatters", "vectorize-loops", "expand-math")
