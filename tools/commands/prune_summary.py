"""What ``espalier prune`` ends with: metrics at every point, rates of all layers, both networks' times."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ...errors import EspalierError
from ...runtime.executors.team import cores
from ..bench.engines import EspalierEngine
from ..bench.measure import measure, relative_error
from ..bench.show import records_table
from ..compiled import arrays
from .common import out, show

if TYPE_CHECKING:
    from ...frontends.pruning.engine import Outcome
    from ...frontends.pruning.sparsifier import LayerReport

SAME = 1e-4  # our outputs may differ from PyTorch's by this share of the largest output
RUNS = 15


def summary_of(outcome: Outcome, recipe: Any, libraries: Any) -> dict[str, Any]:
    """What ``pruned.json`` holds."""
    from ...frontends.pruning.checkpoint import versions

    metrics = {key: value for key, value in asdict(outcome).items() if key not in ("log", "layers")}
    layers = [{**asdict(layer), "rate": layer.rate} for layer in outcome.layers]
    return {"metrics": metrics, "layers": layers, "recipe": recipe.model_dump(mode="json"),
            "libraries": [library.state_dict() for library in libraries], "versions": versions()}


def outcome_table(outcome: Outcome, metric: str) -> Table:
    """The metric at every point that the run passed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("point")
    table.add_column(metric, justify="right")
    points = {"dense": outcome.dense, "projected at once": outcome.one_shot,
              "after the method's epochs": outcome.regularised, "projected then": outcome.hard_pruned,
              "retrained": outcome.retrained, "dense, test data": outcome.dense_test,
              "retrained, test data": outcome.test}
    for text, value in points.items():
        if value is not None:
            table.add_row(text, f"{value:.2f}")
    return table


def layers_table(layers: list[LayerReport]) -> Table:
    """The scheme and the rate of every pruned layer."""
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "scheme", "rate"):
        table.add_column(column, justify="right" if column == "rate" else "left")
    for layer in layers:
        table.add_row(layer.name, layer.scheme, f"{layer.rate:.2f}")
    return table


def measured(name: str, dense: Any, pruned: Any, inputs: tuple[Any, ...],
              threads: int) -> list[dict[str, Any]]:
    """Compiles both, checks both against PyTorch, and times them interleaved."""
    import torch

    from ... import compile as compile_model

    engines = []
    for variant, module in (("dense", dense.eval()), ("sparse", pruned)):
        compiled = compile_model(module, inputs)
        engine = EspalierEngine(compiled, arrays(inputs), variant)
        with torch.no_grad():
            result = module(*inputs)
        reference = arrays(result if isinstance(result, tuple) else (result,))
        error = relative_error(engine.run()[: len(reference)], reference)
        if not error <= SAME:
            raise EspalierError(f"our {variant} outputs differ from PyTorch's by {error:.1e} of the largest "
                                f"output (allowed: {SAME:.0e}): times would mean nothing")
        engines.append(engine)
    records = measure(name, engines, threads=[threads], warmup=3, runs=RUNS)
    show(records_table(records, cores()))
    dense_ms, sparse_ms = (record.median_ms for record in records)
    out.print(f"pruned: {dense_ms / sparse_ms:.2f} times as fast as dense", markup=False)
    return [record.as_json() for record in records]
