"""Pruning: specifications, one-shot projection onto a scheme, and folding of masks."""
