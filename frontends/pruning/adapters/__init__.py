"""Thin callbacks that let other trainers' loops prune; each imports its library when it is imported.

With Accelerate none is needed: ``accelerator.register_for_checkpointing(sparsifier)``.
"""
