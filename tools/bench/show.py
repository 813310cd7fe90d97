"""Benchmark results as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from ..text import plain
from .layers import LayerTime, median_ratio
from .measure import Record


def records_table(records: Sequence[Record], cores: int) -> Table:
    """Median, median absolute deviation, p90, p99 and range of each engine, and how many times faster ours
    (sparse) is on as many threads; a row that proves little on this machine of ``cores`` is marked with
    ``!``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("engine", "variant"):
        table.add_column(title)
    for title in ("threads", "runs", "median ms", "± ms", "p90", "p99", "min..max ms", "ours is"):
        table.add_column(title, justify="right", no_wrap=True)
    ours = {record.threads: record for record in records
            if (record.engine, record.variant) == ("espalier", "sparse")}
    for record in records:
        base = ours.get(record.threads)
        ratio = "" if base is None or record is base else _compared(record.median_ms / base.median_ms)
        mark = " !" if record.doubts(cores) else ""
        cells = (record.engine, record.variant, str(record.threads), str(record.runs),
                 f"{record.median_ms:.2f}", f"{record.deviation_ms:.2f}{mark}",
                 f"{record.p90_ms:.2f}", f"{record.p99_ms:.2f}",
                 f"{record.min_ms:.2f}..{record.max_ms:.2f}", ratio)
        table.add_row(*(plain(cell) for cell in cells), style="bold" if record is base else "")
    return table


def _compared(ratio: float) -> str:
    """``2.00x faster``, never ``0.00x``: what is below 1 is said the other way round."""
    return f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / max(ratio, 1e-6):.2f}x slower"


def doubt_lines(records: Sequence[Record], cores: int) -> list[str]:
    """One line a row that is marked: why it proves little."""
    return [f"! {r.engine} {r.variant}, {r.threads} thread{'s' if r.threads > 1 else ''}: "
            f"{', '.join(r.doubts(cores))}: measure again on a quiet machine"
            for r in records if r.doubts(cores)]


def scaling_lines(records: Sequence[Record]) -> list[str]:
    """One line an engine: how much faster it is on the most threads than on the fewest."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.engine, record.variant), []).append(record)
    lines = []
    for (engine, variant), group in groups.items():
        few, many = min(group, key=lambda r: r.threads), max(group, key=lambda r: r.threads)
        if few.threads < many.threads:
            compared = _compared(few.median_ms / max(many.median_ms, 1e-6))
            lines.append(f"{engine} {variant}: {many.threads} threads {compared} than {few.threads}")
    return lines


def layers_table(times: Sequence[LayerTime]) -> Table:
    """Our layers against PyTorch's modules of the same name; the median ratio in the footer."""
    ratio = median_ratio(list(times))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("layer", f"{len(times)} layers")
    table.add_column("ours ms", f"{sum(t.ours_ms for t in times):.2f}", justify="right")
    table.add_column("torch ms", f"{sum(t.torch_ms or 0.0 for t in times):.2f}", justify="right")
    table.add_column("ratio", f"median {ratio:.2f}x" if ratio else "", justify="right")
    for time in times:
        table.add_row(plain(time.name), f"{time.ours_ms:.3f}",
                      "-" if time.torch_ms is None else f"{time.torch_ms:.3f}",
                      "" if time.ratio is None else f"{time.ratio:.2f}x")
    return table
