"""Rates from a latency target: times and sensitivities of every layer's choices, and the best of them."""
