"""A profiled run as a Chrome trace (chrome://tracing, Perfetto)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...runtime.records import LayerRecord


def chrome_trace(network: str, layers: Sequence[LayerRecord],
                 timeline: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """Trace events of one run, whose statements follow each other: ``timeline`` has (label, seconds) of each,
    where the label of one of ``layers`` is its name."""
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": f"espalier {network}"}}]
    known = {layer.name: layer for layer in layers}
    start = 0.0
    for label, duration in timeline:
        event = {"name": label, "cat": "other", "ph": "X", "pid": 1, "tid": 1, "ts": 1e6 * start,
                 "dur": 1e6 * duration}
        if label in known:
            layer = known[label]
            event |= {"cat": layer.op, "args": {"shape": layer.shape, "scheme": layer.scheme,
                                                "kernel": layer.kernel, "macs": layer.macs_packed}}
        events.append(event)
        start += duration
    return {"traceEvents": events, "displayTimeUnit": "ms"}
