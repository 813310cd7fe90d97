"""The report as one HTML page that needs nothing else: style and bars are in the file."""

from __future__ import annotations

from pathlib import Path

from ..pages import page
from .data import Report, count, factor, milliseconds, size

TEMPLATE = Path(__file__).with_name("report.html")


def report_page(report: Report) -> str:
    """The page's text. Names from the model are escaped."""
    rows = report.rows
    largest = {
        "ms": max((row.measured_ms or row.predicted_ms or 0.0 for row in rows), default=0.0) or 1.0,
        "macs": max((row.macs_dense for row in rows), default=0) or 1,
        "bytes": max((row.bytes_dense for row in rows), default=0) or 1,
        "loads": max((row.loads_before for row in rows), default=0) or 1,
    }
    return page(TEMPLATE, {"count": count, "size": size, "ms": milliseconds}, report=report,
                totals=report.totals, largest=largest, factor=factor)
