"""What a model file says of its tensors and layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import UnionType
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np

_R = TypeVar("_R")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: ``dtype`` is numpy's name; a size of -1 is free, the same for all."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)


GPU_FACTS = {
    "mapping": "what a thread computes", "tile": "output rows and columns of a thread, for each filter",
    "filters": "filters of a thread", "accumulators": "sums that it keeps", "workgroups": "of all launches",
    "threads": "of a workgroup", "multiply_adds_a_thread": "mean",
    "elements_a_multiply_add": "input elements loaded", "elements_before": "the same without LRE",
    "loads_a_multiply_add": "load instructions", "bytes": "of weights and their indices, as they lie"}


@dataclass(frozen=True)
class LayerRecord:
    """What the compiler decided for one layer; MACs and bytes are of the whole layer, batch included."""

    name: str
    op: str
    shape: str
    scheme: str
    sparsity: float
    kernel: str
    reason: str
    macs_dense: int
    macs_packed: int
    bytes_dense: int
    bytes_packed: int
    index_bytes: int
    loads_before: int
    loads_after: int
    predicted_ms: float | None
    fused_into: str = ""  # the layer in whose measured time this one's is
    functions: list[str] = field(default_factory=list)  # the symbols of the code that computes it
    csr_index_bytes: int = 0  # what CSR's 32-bit columns and row starts would take in place of index_bytes
    precision: str = "fp32"  # fp32, fp16, or "fp16, computed in fp32"
    library: dict[str, Any] = field(default_factory=dict)  # of patterns: kernel, patterns (places)
    gpu: dict[str, Any] = field(default_factory=dict)  # how a GPU runs it: ``GPU_FACTS``

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> LayerRecord:
        """The record that a manifest holds; ``TypeError`` where a field is missing, unknown or of another
        type."""
        return _checked(cls, entry, f"layer '{entry['name']}'")


@dataclass(frozen=True)
class StatementRecord:
    """What takes time and is no layer: ``label`` is what it is called in a timeline; ``kind``: kernel,
    re-layout, loop, copy or waiting; ``shared``: all threads take part; ``reason``: why it is as it is."""

    label: str
    name: str
    op: str
    kind: str
    shared: bool
    reason: str

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> StatementRecord:
        """The record that a manifest holds; ``TypeError`` where a field is missing, unknown or of another
        type."""
        return _checked(cls, entry, f"statement '{entry['label']}'")


def _checked(kind: type[_R], entry: Mapping[str, Any], what: str) -> _R:
    """A record of ``entry``, whose fields' types are those that ``kind`` says; whole numbers may stand where
    numbers are wanted."""
    record = kind(**entry)
    for name, wanted in get_type_hints(kind).items():
        value = getattr(record, name)
        whole = isinstance(value, int) and wanted in (float, float | None)
        plain = wanted if isinstance(wanted, UnionType) else get_origin(wanted) or wanted
        if not whole and not isinstance(value, plain):
            raise TypeError(f"{what}: {name} cannot be {value!r:.80}")
    return record
