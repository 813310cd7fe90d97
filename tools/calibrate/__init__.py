"""Measures what one core of this machine can do at most."""
