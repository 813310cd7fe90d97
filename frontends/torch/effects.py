"""Checks that linear algebra makes of its own results: whether a matrix could be inverted.

    %token, _ = with_effects(%token, aten._linalg_check_errors, %info)   ->   (nothing)

PyTorch threads a token through them, an input and an output more, which no importer knows. A weight that
cannot be inverted raises when PyTorch computes the recorded pair.
"""

from __future__ import annotations

import torch
from torch.export._remove_effect_tokens_pass import _remove_effect_tokens

with_effects = torch.ops.higher_order.with_effects
CHECK = torch.ops.aten._linalg_check_errors.default


def without_checks(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """``program`` without tokens and checks, in place; one that has no tokens stays as it is."""
    if not any(node.target is with_effects for node in program.graph.nodes):
        return program
    program = _remove_effect_tokens(program)
    for node in list(program.graph.nodes):
        if node.target is CHECK:
            program.graph.erase_node(node)
    return program


__all__ = ["without_checks"]
