"""The report as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from ..text import plain
from .data import OtherRow, Report, Row, Totals, count, factor, milliseconds, size


def report_table(report: Report) -> Table:
    """One row a layer, totals below."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{report.network} on {report.machine}", title_justify="left",
                  pad_edge=False, show_footer=True, caption=_caption(report), caption_justify="left")
    footer = [f"{len(report.rows)} layers", "", "", "", "", "", *_numbers(report.totals)]
    titles = ("layer", "op", "shape", "scheme", "zeros", "kernel", "MACs", "bytes", "CSR index → ours",
              "loads", "pred. ms", "ms", "least", "share")
    for at, (title, total) in enumerate(zip(titles, footer, strict=True)):
        number = at == 4 or at >= 6
        table.add_column(title, plain(total), justify="right" if number else "left",
                         no_wrap=number or at == 0)
    for row in report.rows:
        cells = (row.name, row.op, row.shape, row.scheme, f"{row.sparsity:.1%}", row.kernel, *_numbers(row))
        table.add_row(*(plain(cell) for cell in cells))
    return table


def _numbers(values: Row | Totals) -> tuple[str, ...]:
    return (_change(count(values.macs_dense), count(values.macs_packed)),
            _change(size(values.bytes_dense), size(values.bytes_packed)),
            f"{size(values.csr_index_bytes)} → {size(values.index_bytes)}" if values.index_bytes else "-",
            _change(count(values.loads_before), count(values.loads_after)),
            milliseconds(values.predicted_ms), milliseconds(values.measured_ms),
            milliseconds(values.least_ms), _percent(values))


def _percent(values: Row | Totals | OtherRow) -> str:
    return "-" if values.share is None else f"{values.share:.1%}"


def others_table(report: Report) -> Table:
    """One row for everything that takes time and is no layer; below, the whole run."""
    table = Table(box=box.SIMPLE_HEAD, title="Everything else", title_justify="left", pad_edge=False,
                  show_footer=True)
    footer = ("the whole run", "", "", str(report.threads), milliseconds(report.whole_ms),
              milliseconds(report.least_ms), "100.0%", "")
    titles = ("name", "operation", "kind", "threads", "ms", "least", "share", "why")
    for at, (title, total) in enumerate(zip(titles, footer, strict=True)):
        table.add_column(title, plain(total), justify="right" if 3 <= at <= 6 else "left", no_wrap=at <= 6)
    for row in report.others:
        cells = (row.name, row.op, row.kind, str(row.threads), milliseconds(row.measured_ms),
                 milliseconds(row.least_ms), _percent(row), row.reason)
        table.add_row(*(plain(cell) for cell in cells))
    return table


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def reason_lines(report: Report) -> list[str]:
    """Why each kernel was chosen; layers that share a kernel and its reason share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in report.rows:
        groups.setdefault((row.kernel, row.reason), []).append(row.name)
    lines = []
    for (kernel, reason), names in groups.items():
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        why = reason.removeprefix(f"{kernel}: ") or "no choice to make"
        lines.append(f"{kernel}: {why} ({shown})")
    return lines


def _caption(report: Report) -> str:
    totals = report.totals
    facts = [f"{what} {factor(before, after)} fewer" for what, before, after in
             (("MACs", totals.macs_dense, totals.macs_packed),
              ("weight bytes", totals.bytes_dense, totals.bytes_packed),
              ("loads", totals.loads_before, totals.loads_after)) if factor(before, after)]
    less = factor(totals.csr_index_bytes, totals.index_bytes)
    facts += [f"index {size(totals.index_bytes)} of {size(totals.bytes_packed)}"
              + (f" ({less} less than CSR's, 32-bit columns)" if less else ""),
              f"arena {size(report.arena_bytes)}"]
    if totals.measured_ms is not None:
        plural = "s" if report.threads > 1 else ""
        facts.append(f"median of {report.runs} runs, {report.threads} thread{plural}")
    return ", ".join(facts)
