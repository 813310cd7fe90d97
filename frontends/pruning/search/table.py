"""``search.csv``: times and sensitivities of every choice, so that a second target measures nothing again.

    key,layer,choice,rate,ms,sensitivity
    1f0a...,(dense),,,12.61,
    1f0a...,(rest),,,2.204,
    1f0a...,features.3,pattern 3.6,3.6,0.2884,0.0121

``key`` stands for the weights, the recipe's rules, the machine and the versions: a table of something else is
not taken.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from ....files import replacing
from ....pipelines.target import Target, cpu_field
from ....sparse_dialect.errors import EspalierError
from ..processes import digest
from ..recipe import Recipe
from .choices import Searched

COLUMNS = ("key", "layer", "choice", "rate", "ms", "sensitivity")
DENSE_ROW, REST_ROW = "(dense)", "(rest)"


@dataclass(frozen=True)
class SearchTable:
    """Times [layer][choice] in milliseconds and sensitivities [layer][choice], in the layers' order."""

    times: list[list[float]]
    sensitivities: list[list[float]]
    rest_ms: float
    dense_ms: float


def table_key(model: nn.Module, recipe: Recipe, **circumstances: Any) -> str:
    """What a table is of: weights, rules, machine, versions, and whatever else the caller names."""
    facts = {"weights": digest(list(model.parameters())), "threads": 1, **circumstances,
             "rules": [rule.model_dump(mode="json") for rule in recipe.layers],
             "library": recipe.library.model_dump(mode="json"), "seed": recipe.seed,
             "machine": [platform.machine(), cpu_field("model name"), str(Target.host())],
             "espalier": version("espalier-compiler")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_table(path: Path, key: str, layers: Sequence[Searched], table: SearchTable) -> None:
    """Writes the table whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerow([key, DENSE_ROW, "", "", repr(table.dense_ms), ""])
    writer.writerow([key, REST_ROW, "", "", repr(table.rest_ms), ""])
    for layer, times, rises in zip(layers, table.times, table.sensitivities, strict=True):
        for choice, ms, rise in zip(layer.choices, times, rises, strict=True):
            writer.writerow([key, layer.name, choice.text, f"{choice.rate:g}", repr(ms), repr(rise)])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def read_answer(path: Path, key: str, target: str) -> dict[str, Any] | None:
    """What ``write_answer`` kept of a target, so that a run that goes on trains at the same rates."""
    try:
        answers = json.loads(path.read_text()) if path.exists() else {}
        return answers.get(f"{key} {target}")
    except (OSError, ValueError, AttributeError) as error:
        raise EspalierError(f"{path}: no answers of a search ({error}): remove it") from error


def write_answer(path: Path, key: str, target: str, answer: dict[str, Any]) -> None:
    """Keeps the choices for a target beside those of other targets."""
    answers = json.loads(path.read_text()) if path.exists() else {}
    answers[f"{key} {target}"] = answer
    with replacing(path) as file:
        file.write((json.dumps(answers, indent=1) + "\n").encode())


def read_table(path: Path, key: str, layers: Sequence[Searched]) -> SearchTable | None:
    """The table in ``path`` if it is of ``key``; None where there is none or one of something else. Raises
    ``EspalierError`` for a file that is no such table, which is not overwritten."""
    if not path.exists():
        return None
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError("other columns")
        if not rows or rows[0]["key"] != key:
            return None
        found = {(row["layer"], row["choice"]): row for row in rows}
        return SearchTable([[float(found[layer.name, choice.text]["ms"]) for choice in layer.choices]
                            for layer in layers],
                           [[float(found[layer.name, choice.text]["sensitivity"]) for choice in layer.choices]
                            for layer in layers],
                           float(found[REST_ROW, ""]["ms"]), float(found[DENSE_ROW, ""]["ms"]))
    except (OSError, ValueError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise EspalierError(f"{path}: no table of a search ({error}): remove it, or name another") from error
