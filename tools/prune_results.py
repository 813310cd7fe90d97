"""What pruning that trains reaches: every case's arms on several seeds, as a table with means and deviations.

    python -m espalier.tools.prune_results --seeds 5 --out results

Arms of a seed start from the same dense network and train for equally many epochs, one after the other, so
that a slow hour or another version hits all alike. ``results.csv`` grows by a row an arm, and what it holds
is not done again. ``--share 0.1`` takes a tenth of the data and of the epochs: it shows that all of it runs.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from ..errors import EspalierError
from ..frontends.pruning.engine import PruningRun
from ..frontends.pruning.loop import evaluate
from ..frontends.pruning.recipe import Optimizer, Phase, load_recipe
from ..frontends.pruning.stepper import train_dense
from ..frontends.tasks import Task, cmudict, fashion_mnist, moving_clothes
from ..frontends.tasks.networks import Phones, resnet, vgg, video_net
from .bench.measure import relative_error
from .commands.common import exit_code, out, show

LEAST_EPOCHS = 4  # three stages of ADMM, and one of retraining
COLUMNS = ("case", "arm", "seed", "share", "metric", "hard", "rate", "detected", "error", "seconds")
ELOG: dict[str, Any] = {"library": {"source": "elog"}}
SGD: dict[str, Any] = {"name": "SGD", "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
PATTERNS: dict[str, Any] = {"match": "*", "scheme": "pattern", "entries": 4, "patterns": 8}
EIGHT = [{**PATTERNS, "connectivity": 3.6}]
SINGLE = [{"match": {"type": "Conv2d"}, "scheme": "unstructured", "rate": 8.1},
          {"match": "0", "scheme": "unstructured", "rate": 2.25}]
GROUPS: dict[str, Any] = {"match": {"type": "Conv3d"}, "scheme": "kgs", "rate": 3.6}
FILTERS = 1.83  # of each of three layers, and so of the channels of two: a 3.6th of the multiply-adds
WHOLE = (("gru.weight_ih*", 32), ("gru.weight_hh*", 192))
CLIPS = (("4", 32, 432), ("8", 32, 864), ("11", 64, 864))  # the matrices of video_net's layers but the first


def whole(rate: float, row_rate: float = 1.0) -> list[dict[str, Any]]:
    """Rules for the GRU's matrices, each one block."""
    return [{"match": name, "scheme": "bcr", "rows": 576, "columns": columns, "rate": rate,
             "row_rate": row_rate} for name, columns in WHOLE]


@dataclass(frozen=True)
class Arm:
    """``method``: the share of the epochs that it takes (0: one_shot), then retraining; ``layers``: rules,
    none for an arm that stays dense. ``retrain``: False leaves out all training."""

    layers: Sequence[dict[str, Any]] = ()
    method: dict[str, Any] = field(default_factory=lambda: {"name": "one_shot"})
    share: float = 0.0
    retrain: bool = True
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A network and its data: ``epochs`` of the dense training, then of every arm."""

    task: Callable[[float], Task]
    model: Callable[[], nn.Module]
    example: Callable[[], torch.Tensor]
    epochs: tuple[int, int]
    arms: dict[str, Arm]
    peaks: tuple[float, float] = (0.1, 0.05)
    optimizer: dict[str, Any] = field(default_factory=lambda: SGD)


ADMM: dict[str, Any] = {"name": "admm", "stages": [0.3, 1, 3]}
REWEIGHTED: dict[str, Any] = {"name": "reweighted"}


def plain_arms(rules: Sequence[dict[str, Any]], **parts: Any) -> dict[str, Arm]:
    """The arms that every case has."""
    return {"dense+": Arm(), "one-shot": Arm(rules, retrain=False, parts=parts),
            "one-shot + retraining": Arm(rules, parts=parts)}


def picture() -> torch.Tensor:
    return torch.randn(1, 1, 28, 28)


def fashion(share: float) -> Task:
    return fashion_mnist(round(20_000 * share))


CASES = {
    "vgg-tight": Case(fashion, vgg, picture, (12, 16), {
        **plain_arms(EIGHT), "admm": Arm(EIGHT, ADMM, 0.5),
        "layerwise": Arm(EIGHT, {"name": "layerwise"}, retrain=False),
        "unstructured": Arm(SINGLE)}),
    "vgg-roomy": Case(fashion, partial(vgg, (16, 16, 32, 32, 64, 64)), picture, (12, 16), {
        **plain_arms(EIGHT), "admm": Arm(EIGHT, ADMM, 0.5), "unstructured": Arm(SINGLE)}),
    "resnet-elog": Case(fashion, resnet, picture, (12, 16), {
        **plain_arms([PATTERNS], **ELOG), "admm": Arm([PATTERNS], ADMM, 0.5, parts=ELOG)}),
    "clips-kgs": Case(lambda share: moving_clothes(round(2000 * share)), video_net,
                      lambda: torch.randn(1, 1, 8, 20, 20), (14, 10), {
        **plain_arms([GROUPS]), "kgs reweighted": Arm([GROUPS], REWEIGHTED, 0.5),
        "vanilla reweighted": Arm([{**GROUPS, "vanilla": True}], REWEIGHTED, 0.5),
        "filters reweighted": Arm([{"match": layer, "scheme": "bcr", "rows": rows, "columns": columns,
                                    "rate": FILTERS, "row_rate": FILTERS} for layer, rows, columns in CLIPS],
                                  REWEIGHTED, 0.5)}),
    "words-bcr": Case(lambda share: cmudict(round(6000 * share)), Phones,
                      lambda: torch.randint(1, 27, (20, 1)), (10, 10), {
        **plain_arms([{"match": {"type": "GRU"}, "scheme": "bcr", "rows": 4, "columns": 16, "rate": 10}]),
        "admm": Arm([{"match": {"type": "GRU"}, "scheme": "bcr", "rows": 4, "columns": 16, "rate": 10}],
                    ADMM, 0.5),
        "rows x columns": Arm(whole(10, 10**0.5)), "columns": Arm(whole(10))},
        peaks=(0.003, 0.003), optimizer={"name": "Adam", "clip": 1}),
}


def run_case(name: str, case: Case, seed: int, share: float, done: set[tuple[str, str, str, str]],
             add: Callable[[dict[str, Any]], None]) -> None:
    """One seed of a case: the dense training, then every arm that is not ``done``."""
    arms = [arm for arm in ("dense", *case.arms) if (name, arm, str(seed), f"{share:g}") not in done]
    if not arms:
        return
    epochs = [max(LEAST_EPOCHS, round(count * share)) for count in case.epochs]
    task = case.task(share)
    torch.manual_seed(seed)
    model = case.model()
    begun = time.perf_counter()
    train_dense(model, task, Phase(epochs=epochs[0], peak=case.peaks[0], floor=0.02), seed=seed,
                optimizer=Optimizer(**case.optimizer))
    common = {"case": name, "seed": seed, "share": f"{share:g}"}
    if "dense" in arms:
        add({**common, "arm": "dense", "metric": tested(model, task), "seconds": time.perf_counter() - begun})
    for arm in arms:
        if arm == "dense":
            continue
        begun = time.perf_counter()
        found = run_arm(case, case.arms[arm], copy.deepcopy(model), task, seed, epochs[1])
        add({**common, "arm": arm, **found, "seconds": time.perf_counter() - begun})


def run_arm(case: Case, arm: Arm, model: nn.Module, task: Task, seed: int, epochs: int) -> dict[str, Any]:
    """Trains ``model`` as ``arm`` says; its columns of the table."""
    if not arm.layers:
        phase = Phase(epochs=epochs, peak=case.peaks[1], floor=0.02)
        train_dense(model, task, phase, seed=seed + 1000, optimizer=Optimizer(**case.optimizer))
        return {"metric": tested(model, task)}
    method = dict(arm.method)
    begun = max(len(method.get("stages", (1,))), round(arm.share * epochs)) if arm.share else 0
    if begun:
        method |= {"epochs": begun, "peak": case.peaks[1] / (2 if case.optimizer["name"] == "Adam" else 1)}
    retrain = {"epochs": epochs - begun if arm.retrain else 0, "peak": case.peaks[1]}
    recipe = load_recipe({"seed": seed + 1000, "layers": list(arm.layers), "method": method,
                          "retrain": retrain, "optimizer": case.optimizer, **arm.parts})
    run = PruningRun(model, task, recipe)
    outcome = run.run()
    if not arm.retrain and method["name"] == "one_shot":  # judged with batch norm estimated anew
        metric: float | None = outcome.one_shot
    else:
        metric = outcome.test
    kept = sum(layer.kept for layer in outcome.layers)
    size = sum(int(np.prod(layer.shape)) for layer in outcome.layers)
    return {"metric": metric, "hard": outcome.hard_pruned, "rate": size / kept, **compiled(case, model, run)}


def tested(model: nn.Module, task: Task) -> float:
    """The metric on the test data."""
    assert task.test is not None
    return evaluate(model, task, task.test)


def compiled(case: Case, model: nn.Module, run: PruningRun) -> dict[str, Any]:
    """Whether every pruned layer is found as its scheme, and how far the outputs are from PyTorch's."""
    from ..frontends.compile import compile_model

    example = case.example()
    made = compile_model(model.eval(), (example,))
    schemes = {layer.name: layer.scheme for layer in made.layers}
    targets = [target for target in run.sparsifier.targets if target.spec is not None]
    right = sum(_same_scheme(schemes.get(target.name, ""), target.spec.name if target.spec else "")
                for target in targets)
    with torch.no_grad():
        expected = model(example).numpy()
    error = relative_error(made.run([example.numpy()]), [expected])
    return {"detected": f"{right}/{len(targets)}", "error": error}


def _same_scheme(found: str, asked: str) -> bool:
    """Patterns in kernels of other sizes than 3x3 are connectivity; a block as large as its matrix, rows and
    columns cut whole."""
    return found == asked or (found, asked) in {("connectivity", "pattern"), ("structured", "bcr")}


def results_table(rows: Sequence[dict[str, str]]) -> Table:
    """Means over seeds, as ``85.6 (3, 1.3)``: the number of seeds and the standard deviation."""
    table = Table(box=None, pad_edge=False)
    for column in ("case", "arm", "metric (seeds, deviation)", "before retraining", "rate", "detected"):
        table.add_column(column)
    for case, arm in dict.fromkeys((row["case"], row["arm"]) for row in rows):
        mine = [row for row in rows if (row["case"], row["arm"]) == (case, arm)]
        table.add_row(case, arm, _mean(mine, "metric"), _mean(mine, "hard"),
                      next((f"{float(row['rate']):.2f}" for row in mine if row["rate"]), ""),
                      mine[0]["detected"])
    return table


def _mean(rows: Sequence[dict[str, str]], column: str) -> str:
    values = [float(row[column]) for row in rows if row[column]]
    if not values:
        return ""
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.1f} ({len(values)}, {spread:.1f})"


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of an earlier run; ``EspalierError`` for a file that is no such table."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise EspalierError(f"{path}: no results of this tool: remove it")
    return rows


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Appends a row, and says so."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if new:
            writer.writeheader()
        writer.writerow(row)
    metric = row["metric"]
    out.print(f"{row['case']}, {row['arm']}, seed {row['seed']}: "
              f"{'-' if metric is None else f'{metric:.2f}'} in {row['seconds']:.0f} s", markup=False)


def study(cases: Sequence[str], seeds: int, share: float, folder: Path) -> None:
    """Runs what is missing in ``folder``, then shows the table; ``EspalierError`` for an unknown case."""
    unknown = next((name for name in cases if name not in CASES), None)
    if unknown is not None:
        raise EspalierError(f"no case '{unknown}': there are {', '.join(CASES)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.csv"
    done = {(row["case"], row["arm"], row["seed"], row["share"]) for row in read_rows(path)}
    for seed in range(seeds):
        for name in cases:
            run_case(name, CASES[name], seed, share, done, partial(add_row, path))
    show(results_table([row for row in read_rows(path) if row["share"] == f"{share:g}"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options; errors are one line."""
    parser = argparse.ArgumentParser(prog="espalier prune_results", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the data and epochs")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, default=Path("out/prune-results"))
    options = parser.parse_args(arguments)
    return exit_code(lambda: study(options.cases.split(","), options.seeds, options.share, options.out))


if __name__ == "__main__":
    raise SystemExit(main())
