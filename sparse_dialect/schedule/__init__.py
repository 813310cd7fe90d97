"""Which kernel runs a layer, and how: costs, choices and their reasons."""
