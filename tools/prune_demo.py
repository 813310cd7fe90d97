"""``make demo-prune``: a network is trained, pruned by ADMM to a latency target, compiled, and compared.

Trains a narrow VGG on 6,000 pictures of Fashion-MNIST, searches the rates that make it so many times faster
than our dense kernels, prunes it by ADMM and retrains it, compiles both, checks both against PyTorch, and
times them. About 5 minutes on two cores. Files go to ``out/prune/``.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

from ..errors import optional
from .bench.machine import Machine
from .commands.common import exit_code, out, progress_bars, show, write_json, write_text
from .commands.prune import TrainingBar
from .commands.prune_search import SearchRequest, searched
from .commands.prune_summary import layers_table, measured, outcome_table, summary_of
from .training import training_page

WIDTHS = (16, 16, 32, 32, 64, 64)
RECIPE: dict[str, Any] = {
    "layers": [{"match": "*", "scheme": "pattern", "entries": 4, "patterns": 8, "connectivity": 3.6}],
    "library": {"source": "natural", "start": 24, "shrink": True},
    "method": {"name": "admm", "epochs": 4, "stages": [0.3, 1, 3], "peak": 0.05},
    "retrain": {"epochs": 4, "peak": 0.05},
    "optimizer": {"name": "SGD", "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}}


def demo(folder: Path, images: int, epochs: int, speedup: float) -> None:
    """Does what the module says, in ``folder``."""
    torch = optional("torch", "the demo")
    from ..frontends.pruning.engine import PruningRun
    from ..frontends.pruning.log import write_csv
    from ..frontends.pruning.recipe import Optimizer, Phase, load_recipe
    from ..frontends.pruning.stepper import train_dense
    from ..frontends.pruning.weights import write_pruned
    from ..frontends.tasks import fashion_mnist
    from ..frontends.tasks.networks import vgg

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    task = fashion_mnist(images)
    model = vgg(WIDTHS)
    inputs = (torch.zeros(1, 1, 28, 28),)
    recipe = load_recipe(RECIPE)
    with progress_bars() as progress:
        train_dense(model, task, Phase(epochs=epochs, peak=0.1, floor=0.02),
                    optimizer=Optimizer(**RECIPE["optimizer"]),
                    progress=lambda done, total: progress("training", done, total))
    dense = copy.deepcopy(model)
    out.print(f"1. trained a VGG of {WIDTHS} filters on {images} pictures, {epochs} epochs", markup=False)

    recipe = searched(SearchRequest(speedup=speedup), model, inputs, recipe, task, folder)
    out.print(f"2. rates for {speedup:g} times faster than dense")

    log = folder / "pruned.csv"
    with TrainingBar() as listen:
        def heard(event: Any) -> None:
            listen(event)
            if hasattr(event, "record"):
                write_csv(log, run.outcome.log)

        run = PruningRun(model, task, recipe, None, heard)
        outcome = run.run()
    out.print("3. pruned by ADMM and retrained under the masks")
    show(outcome_table(outcome, task.name))
    show(layers_table(outcome.layers))

    out.print(f"4. compiled, equal to PyTorch, timed on {Machine.here()}", markup=False)
    summary = summary_of(outcome, recipe, run.sparsifier.assignment.libraries)
    summary["times"] = measured("vgg", dense, model.eval(), inputs, 1)
    write_pruned(model, inputs, folder / "pruned.pt2")
    write_json(folder / "pruned.json", summary)
    write_text(folder / "pruned.html", training_page(
        "VGG on Fashion-MNIST", log, outcome.layers, run.sparsifier.assignment.libraries))
    out.print(f"5. the model, its log and its page: {folder / 'pruned.pt2'}, .csv, .html", markup=False)


def main() -> int:
    """Reads the arguments; errors are one line."""
    parser = argparse.ArgumentParser(prog="espalier demo-prune", description="Train, prune, compile, time.")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=6, help="of the dense training")
    parser.add_argument("--speedup", type=float, default=2.5)
    parser.add_argument("--folder", type=Path, default=Path("out/prune"))
    arguments = parser.parse_args()
    return exit_code(lambda: demo(arguments.folder, arguments.images, arguments.epochs, arguments.speedup))


if __name__ == "__main__":
    raise SystemExit(main())
