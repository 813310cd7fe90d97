"""PatDNN's example of FKW, and the four patterns that it is drawn with."""

import numpy as np

CORNERS = ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8))


def patdnn_example() -> np.ndarray:
    """PatDNN's FKW example (docs/papers.md): 4 filters, 4 channels, {channel: pattern}."""
    kernels = [{1: 2, 3: 1}, {0: 2, 2: 1}, {1: 2, 2: 2, 3: 2}, {1: 2, 3: 2}]
    weight = np.zeros((4, 4, 9), np.float32)
    for f, row in enumerate(kernels):
        for c, pattern in row.items():
            weight[f, c, list(CORNERS[pattern - 1])] = 10 * f + c + np.array([0.1, 0.2, 0.3, 0.4])
    return weight.reshape(4, 4, 3, 3)
