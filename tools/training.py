"""The page of a training that prunes: loss, metric, residual and pattern frequencies by epoch, from its CSV
log; the layers' rates beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EspalierError
from .pages import page

TEMPLATE = Path(__file__).with_name("training.html")
LEFT, RIGHT, TOP, BOTTOM = 60, 790, 20, 190  # the charts' place in the page's units
COLOURS = ("#27c", "#c60", "#393", "#a3a", "#777", "#b22", "#088", "#650")
CURVES = {"loss": "loss", "metric": "metric", "residual": "residual (distance from the constraint sets)"}


@dataclass(frozen=True)
class Curve:
    """A line of a chart; ``points`` as SVG wants them."""

    colour: str
    points: str


@dataclass(frozen=True)
class Chart:
    """Curves over epochs on one scale; ``boundary``: where the masks were made."""

    title: str
    curves: tuple[Curve, ...]
    lowest: str
    highest: str
    first: int
    last: int
    boundary: float | None


def training_page(name: str, log: Path, layers: Sequence[Any] = (),
                  libraries: Sequence[Any] = ()) -> str:
    """The page, which needs nothing else, of the CSV file ``log``; ``layers``: rows with name, scheme, asked
    and rate; ``libraries``: those with kernel and patterns, drawn. Raises ``EspalierError`` for a file that
    is no log of a training."""
    rows = _rows(log)
    charts = [chart for chart in (_chart(rows, column, title) for column, title in CURVES.items()) if chart]
    charts += _frequencies(rows)
    return page(TEMPLATE, name=name, charts=charts, layers=layers, libraries=libraries)


def _rows(log: Path) -> list[dict[str, str]]:
    try:
        with log.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            json.loads(row["frequencies"])
            for column in CURVES:
                float(row[column] or 0)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise EspalierError(f"{log}: no log of a training: {error}") from error
    if not rows:
        raise EspalierError(f"{log}: a log without epochs")
    return rows


def _chart(rows: Sequence[dict[str, str]], column: str, title: str) -> Chart | None:
    """One column's curve; None where it is empty."""
    values = [(int(row["epoch"]), float(row[column])) for row in rows if row[column]]
    return _drawn(rows, title, [values]) if values else None


def _frequencies(rows: Sequence[dict[str, str]]) -> list[Chart]:
    """Kernels of each pattern, the most frequent first, a chart a library. While a library shrinks, places in
    this order stand for other patterns than later."""
    charts = []
    counts = [(int(row["epoch"]), json.loads(row["frequencies"])) for row in rows]
    for library in range(max(len(found) for _, found in counts)):
        ranked = [(epoch, sorted(found[library], reverse=True)) for epoch, found in counts
                  if library < len(found) and found[library]]
        most = max((len(found) for _, found in ranked), default=0)
        curves = [[(epoch, float(found[place])) for epoch, found in ranked if place < len(found)]
                  for place in range(most)]
        if curves:
            charts.append(_drawn(rows, f"kernels of each pattern, library {library + 1}", curves))
    return charts


def _drawn(rows: Sequence[dict[str, str]], title: str,
           curves: Sequence[Sequence[tuple[int, float]]]) -> Chart:
    epochs = [int(row["epoch"]) for row in rows]
    first, last = min(epochs), max(epochs)
    values = [value for curve in curves for _, value in curve]
    low, high = min(values), max(values)

    def across(epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * (epoch - first) / max(last - first, 1)

    def down(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / ((high - low) or 1.0)

    regularised = [int(row["epoch"]) for row in rows if row["phase"] == "regularise"]
    drawn = tuple(Curve(COLOURS[number % len(COLOURS)],
                        " ".join(f"{across(epoch):.1f},{down(value):.1f}" for epoch, value in curve))
                  for number, curve in enumerate(curves))
    return Chart(title, drawn, f"{low:.4g}", f"{high:.4g}", first, last,
                 across(max(regularised) + 0.5) if regularised and max(regularised) < last else None)
