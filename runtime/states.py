"""States: buffers of a model that each run overwrites, and the next one reads (streaming audio, counters).

    compiled code    (inputs..., states...) -> (outputs..., new states...)
    the model        (inputs...) -> outputs, from the states that the run before left

They are the last inputs and the last outputs of the code, in one order; the manifest says how many there are
(``states``), and the file holds what they are at first (``state_<i>.npy``). ``c/states.c`` does the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import EspalierError
from .records import TensorSpec
from .tensors import checked_inputs, tensor_specs

RUNS = 2  # that are recorded of a model with states: the second one reads what the first one left


def named_states(manifest: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What the manifest of a model says whose last inputs and outputs are the states ``names``."""
    names = list(names)

    def renamed(kind: str) -> list[dict[str, Any]]:
        specs = manifest[kind]
        first = len(specs) - len(names)
        own = [{**spec, "name": name} for spec, name in zip(specs[first:], names, strict=True)]
        return [*specs[:first], *own]

    return {"inputs": renamed("inputs"), "outputs": renamed("outputs"), "states": len(names)}


def interface(manifest: Mapping[str, Any]) -> tuple[tuple[TensorSpec, ...], ...]:
    """Inputs, outputs and states of a model, as who calls it sees them; ``ValueError`` or ``TypeError`` where
    the manifest makes no sense."""
    inputs, outputs = tensor_specs(manifest["inputs"]), tensor_specs(manifest["outputs"])
    count = int(manifest.get("states", 0))
    first, first_new = len(inputs) - count, len(outputs) - count
    states = inputs[first:]
    if min(count, first, first_new) < 0 or any(
            (spec.shape, spec.dtype) != (new.shape, new.dtype)
            for spec, new in zip(states, outputs[first_new:], strict=True)):
        raise ValueError(f"its last inputs and outputs are no {count} states")
    return inputs[:first], outputs[:first_new], states


class States:
    """
    The states of one model: ``now`` is what the next run reads, ``next`` is where it writes.

    A run that fails leaves ``now`` as it was.
    """

    def __init__(self, initial: Sequence[np.ndarray]) -> None:
        self._initial = initial
        self.now = [np.array(one, order="C") for one in initial]
        self.next = [np.empty_like(one) for one in self.now]

    def advance(self) -> None:
        """A run has ended well."""
        self.now, self.next = self.next, self.now

    def reset(self) -> None:
        """Back to the initial values."""
        self.put(self._initial)

    def put(self, values: Sequence[np.ndarray]) -> None:
        """``values`` of the right shapes and dtypes in place of what is there."""
        for own, value in zip(self.now, values, strict=True):
            own[...] = value

    def copies(self) -> list[np.ndarray]:
        """What is there."""
        return [one.copy() for one in self.now]


def checked_states(specs: Sequence[TensorSpec], values: Mapping[str, Any]) -> list[np.ndarray]:
    """``values`` in the order of ``specs``; ``EspalierError`` where one is missing, unknown, or of another
    shape or dtype."""
    names = [spec.name for spec in specs]
    if not isinstance(values, Mapping) or set(values) != set(names):
        found = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise EspalierError(f"expected a dict of the states {', '.join(names) or '(none)'}, found "
                            f"{found or 'nothing'}")
    return checked_inputs(specs, [np.asarray(values[name]) for name in names])


__all__ = ["RUNS", "States", "checked_states", "interface", "named_states"]
