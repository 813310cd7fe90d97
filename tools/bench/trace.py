"""A profiled run as a Chrome trace (chrome://tracing, Perfetto)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...runtime.records import LayerRecord


def chrome_trace(network: str, layers: Sequence[LayerRecord], seconds: Sequence[float]) -> dict[str, Any]:
    """Trace events of one run whose layers follow each other; ``seconds`` is in the order of ``layers``."""
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": f"espalier {network}"}}]
    start = 0.0
    for layer, duration in zip(layers, seconds, strict=True):
        details = {"shape": layer.shape, "scheme": layer.scheme, "kernel": layer.kernel,
                   "macs": layer.macs_packed}
        events.append({"name": layer.name, "cat": layer.op, "ph": "X", "pid": 1, "tid": 1,
                       "ts": 1e6 * start, "dur": 1e6 * duration, "args": details})
        start += duration
    return {"traceEvents": events, "displayTimeUnit": "ms"}
