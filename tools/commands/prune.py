"""``espalier prune MODEL --data FUNCTION --recipe FILE -o pruned.pt2``: prunes, retrains and times."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ...errors import EspalierError, optional
from ...files import check_writable
from ..compiled import Source
from ..training import training_page
from .common import DebugOption, SeedOption, StepsOption, err, out, show, write_json, write_text
from .prune_search import SearchRequest, searched
from .prune_summary import layers_table, measured, outcome_table, summary_of

if TYPE_CHECKING:
    from ...frontends.pruning.engine import EpochLog, Step
    from ...frontends.pruning.plan import PlannedLayer

OUTPUTS = (".pt2", ".safetensors", ".json", ".csv", ".html")  # the program, and what is written beside it

ModelArgument = Annotated[str, typer.Argument(
    metavar="MODEL", help="A reference network, path.py:function (which returns a module and its example "
                          "inputs) or a folder of Hugging Face's", show_default=False)]


def prune_command(
    model: ModelArgument = "",
    data: Annotated[str, typer.Option(
        metavar="FUNCTION", help="path.py:function or package.module:function that returns a Task, such as "
        "espalier.frontends.tasks:fashion_mnist")] = "",
    recipe: Annotated[str, typer.Option(
        metavar="FILE", help="The recipe (YAML), or a shipped one's name.")] = "",
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", metavar="FILE", help="The pruned program (.pt2).")] = None,
    weights: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Trained weights: a state dict (.pt or .safetensors).")] = None,
    checkpoint: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep checkpoints here.")] = None,
    checkpoint_steps: Annotated[int, typer.Option(
        min=0, help="Optimizer steps between checkpoints inside an epoch (0: none).")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    changed_recipe: Annotated[bool, typer.Option(
        "--changed-recipe", help="Resume although the recipe has changed.")] = False,
    log: Annotated[Path | None, typer.Option(
        metavar="DIR", help="Also write TensorBoard files here.")] = None,
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Show what becomes of every layer, and train nothing.")] = False,
    latency: Annotated[str, typer.Option(
        metavar="TIME", help="Choose rates for this time on this machine, such as 12ms.")] = "",
    speedup: Annotated[float | None, typer.Option(
        metavar="N", help="Choose rates that are N times faster than our dense network.")] = None,
    floor: Annotated[float | None, typer.Option(
        metavar="METRIC", help="Choose the fastest rates whose validation metric stays above this.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to measure on.")] = 1,
    search_trials: Annotated[int, typer.Option(
        min=0, metavar="N", help="Trials of Optuna over layers' weights in the choice of rates.")] = 0,
    schema: Annotated[bool, typer.Option("--schema", help="Print the recipe's JSON schema.")] = False,
    seed: SeedOption = 0, steps: StepsOption = None, debug: DebugOption = False,
) -> None:
    """Prune a trained MODEL by a recipe, retrain it, and measure what was gained."""
    optional("torch", "espalier prune")
    from ...frontends.pruning.recipe import Recipe
    from ...frontends.pruning.shipped import find_recipe
    from ...frontends.pruning.sparsifier import unwrapped
    from ...frontends.pruning.targets import assign
    from ...frontends.pruning.weights import exported, load_weights

    if schema:
        out.print(json_module.dumps(Recipe.model_json_schema(), indent=1), markup=False)
        return
    request = SearchRequest(latency, speedup, floor, threads, search_trials)
    request.check(bool(data))
    _check_arguments(model, data, recipe, output, checkpoint, resume, dry_run)
    if output is not None:
        _check_output(output, model, data, recipe, weights)
    _make_folders({"--checkpoint": checkpoint, "--log": log})
    loaded = find_recipe(recipe)
    source = Source(model, None, seed, steps)
    module, inputs = source.load()
    if not hasattr(module, "named_parameters"):
        raise EspalierError(f"{model}: prune trains a PyTorch module: a reference network, path.py:function "
                            "or a folder of Hugging Face's")
    if weights is not None:
        load_weights(module, weights)
    module = unwrapped(module)
    assign(module, loaded)  # what the recipe cannot do here is said before anything is trained
    exported(module, inputs)
    from ...frontends.pruning.engine import RunOptions
    from ...frontends.tasks.load import load_task

    task = load_task(data) if data else None
    if request:
        loaded = searched(request, module, inputs, loaded, task, (output or Path("pruned.pt2")).parent)
    if dry_run:
        _dry_run(module, inputs, loaded, task)
        return
    assert output is not None
    options = RunOptions(checkpoint, resume, checkpoint_steps, changed_recipe)
    _prune(source.name, module, inputs, loaded, task, options, output, log, threads)


def _check_arguments(model: str, data: str, recipe: str, output: Path | None, checkpoint: Path | None,
                     resume: bool, dry_run: bool) -> None:
    """What is missing is said before anything is loaded."""
    needed = {"MODEL": model, "--recipe": recipe}
    if not dry_run:
        needed |= {"--data": data, "--output": str(output or "")}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise EspalierError(f"prune needs {' and '.join(missing)}")
    if resume and checkpoint is None:
        raise EspalierError("--resume needs --checkpoint DIR")


def _check_output(output: Path, *read: str | Path | None) -> None:
    """Neither ``output`` nor what is written beside it may be what is ``read``."""
    if output.suffix != OUTPUTS[0]:
        raise EspalierError(f"--output expects a {OUTPUTS[0]} file, found '{output}'")
    for suffix in OUTPUTS:
        check_writable(output.with_suffix(suffix), *read)


def _make_folders(folders: dict[str, Path | None]) -> None:
    """Makes what is not there: at the end of a training it is late to hear that it cannot be."""
    for option, folder in folders.items():
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EspalierError(f"{option}: cannot make the folder '{folder}': {error.strerror}") from error


def _dry_run(module: Any, inputs: tuple[Any, ...], recipe: Any, task: Any) -> None:
    """The plan as a table, the compiler's own prediction of both times, and, where there are data, about how
    long the training would take."""
    from ... import compile as compile_model
    from ...frontends.pruning.engine import seconds_per_epoch
    from ...frontends.pruning.plan import plan, projected
    from ...frontends.pruning.targets import assign

    assignment = assign(module, recipe)
    rows = plan(module, inputs, assignment)
    show(plan_table(rows))
    sums = {"weights": (sum(row.weights for row in rows), sum(row.kept for row in rows)),
            "multiply-adds": (sum(row.macs for row in rows), sum(row.macs_after for row in rows))}
    for text, (before, after) in sums.items():
        out.print(f"{text}: {before:,} -> {after:,} ({before / max(after, 1):.2f}x fewer)", markup=False)
    times = [sum(layer.predicted_ms or 0 for layer in compile_model(model.eval(), inputs).layers)
             for model in (module, projected(module, assignment))]
    out.print(f"predicted: {times[0]:.2f} ms -> {times[1]:.2f} ms on one core; epochs: "
              f"{recipe.method.epochs} of {recipe.method.name}, {recipe.retrain.epochs} of retraining",
              markup=False)
    if task is not None:
        epochs = recipe.method.epochs + recipe.retrain.epochs
        minutes = seconds_per_epoch(module, task, recipe) * epochs / 60
        out.print(f"duration: about {minutes:.1f} minutes for {epochs} epochs of {len(task.train)} steps",
                  markup=False)


def plan_table(rows: list[PlannedLayer]) -> Table:
    """A row a layer: what becomes of it, and which line says so."""
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "shape", "scheme", "rate", "decided by"):
        table.add_column(column, justify="right" if column == "rate" else "left")
    for row in rows:
        shape = "x".join(str(size) for size in row.shape)
        note = f" ({row.note})" if row.note else ""
        table.add_row(row.name, shape, row.scheme, f"{row.rate:.2f}", row.decided_by + note)
    return table


def _prune(name: str, module: Any, inputs: tuple[Any, ...], recipe: Any, task: Any, options: Any,
           output: Path, log: Path | None, threads: int) -> None:
    """Trains, writes and measures; only process 0 of several speaks."""
    import copy

    from ...frontends.pruning.engine import PruningRun
    from ...frontends.pruning.log import write_csv, write_tensorboard
    from ...frontends.pruning.processes import rank
    from ...frontends.pruning.weights import write_pruned

    dense = copy.deepcopy(module)
    with TrainingBar() as listen:
        def heard(event: Step | EpochLog) -> None:
            if rank() == 0:
                listen(event)
                if hasattr(event, "record"):
                    write_csv(output.with_suffix(".csv"), run.outcome.log)

        run = PruningRun(module, task, recipe, options, heard)
        outcome = run.run()
    if rank() != 0:
        return
    if log is not None:
        write_tensorboard(log, outcome.log)
    summary = summary_of(outcome, recipe, run.sparsifier.assignment.libraries)
    show(outcome_table(outcome, task.name))
    show(layers_table(outcome.layers))
    if outcome.log:
        log_file = output.with_suffix(".csv")
        write_text(output.with_suffix(".html"), training_page(
            name, log_file, outcome.layers, run.sparsifier.assignment.libraries))
    paths = [*write_pruned(module, inputs, output), output.with_suffix(".json")]
    write_json(paths[-1], summary)  # before what may yet fail
    write_json(paths[-1], {**summary, "times": measured(name, dense, module.eval(), inputs, threads)})
    out.print(f"wrote {', '.join(str(path) for path in paths)}", markup=False)


class TrainingBar:
    """A bar over all steps on stderr with loss, metric and residual; a line an epoch where that is no
    terminal."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self.task: Any = None
        self.text = ""

    def __enter__(self) -> Any:
        self.bar.__enter__()
        return self.hear

    def __exit__(self, *exception: Any) -> None:
        self.bar.__exit__(*exception)

    def hear(self, event: Step | EpochLog) -> None:
        """Takes a step or the end of an epoch."""
        if hasattr(event, "record"):
            record = event.record
            residual = "" if record.residual is None else f", residual {record.residual:.3f}"
            self.text = f"metric {record.metric:.2f}{residual}"
            if not err.is_terminal:
                err.print(f"epoch {record.epoch}, {record.phase}: loss {event.loss:.4f}, {self.text}",
                          markup=False)
            return
        if self.task is None:
            self.task = self.bar.add_task("", total=event.epochs * event.steps)
        text = f"{event.phase}, epoch {event.epoch + 1}: loss {event.loss:.4f} {self.text}"
        self.bar.update(self.task, completed=event.epoch * event.steps + event.step, description=text)
