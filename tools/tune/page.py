"""A search as one HTML page that needs nothing else: every trial of every layer, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...sparse_dialect.schedule.database import Trial
from ..pages import page

TEMPLATE = Path(__file__).with_name("search.html")
WIDTH, HEIGHT, SLOWEST = 560.0, 120.0, 2.0  # of a picture; slower trials lie on its upper edge


@dataclass(frozen=True)
class Picture:
    """The trials of one layer: points (x, y, what it says) and the best so far as an SVG path."""

    layer: str
    count: int
    failed: int
    best: float
    points: list[tuple[float, float, str]]
    path: str


def search_page(network: str, trials: Sequence[Trial], layers: Sequence[str]) -> str:
    """The page on the trials of ``layers``."""
    of_layer = {layer: [trial for trial in trials if trial.layer == layer] for layer in layers}
    pictures = [_picture(layer, found) for layer, found in of_layer.items() if found]
    return page(TEMPLATE, network=network, pictures=pictures, width=WIDTH, height=HEIGHT, today=_y(1.0))


def _picture(layer: str, trials: Sequence[Trial]) -> Picture:
    best, points, path = 1.0, [], [f"M 0 {_y(1.0):.1f}"]
    for number, trial in enumerate(trials, 1):
        x, ratio = WIDTH * number / len(trials), trial.ratio if trial.ratio is not None else SLOWEST
        points.append((x, _y(ratio), f"{trial.state} {ratio:.3f}: {trial.schedule.text}"))
        best = min(best, ratio)
        path.append(f"L {x:.1f} {_y(best):.1f}")
    failed = sum(trial.state != "ok" for trial in trials)
    return Picture(layer, len(trials), failed, best, points, " ".join(path))


def _y(ratio: float) -> float:
    """0 lies below, SLOWEST and more above."""
    return HEIGHT * (1 - min(ratio, SLOWEST) / SLOWEST)
