"""Whole runs: the points of the summary, and going on after any interruption with the same bits."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from espalier.frontends.pruning.checkpoint import checkpoints, load_checkpoint, save_checkpoint, steady
from espalier.frontends.pruning.engine import EpochLog, Outcome, PruningRun, RunOptions, Step
from espalier.frontends.pruning.loop import check_task, estimate_batch_norm, evaluate
from espalier.frontends.pruning.recipe import Phase, load_recipe
from espalier.frontends.pruning.stepper import train_dense
from espalier.frontends.tasks import Task
from espalier.sparse_dialect import EspalierError
from support.training import PATTERNS, Net, net, task
from torch import nn

RECIPE: dict[str, Any] = {"layers": [PATTERNS],
                          "retrain": {"epochs": 2, "peak": 0.05, "distill": {"last": 1}},
                          "optimizer": {"momentum": 0.9, "weight_decay": 1e-3, "clip": 1.0}}


class Killed(Exception):
    pass


def trained() -> Net:
    """The dense network that all runs begin with."""
    model = net()
    model.load_state_dict(trained_weights())
    return model


@cache
def trained_weights() -> dict[str, Any]:
    model = net()
    train_dense(model, task(), Phase(epochs=8, peak=0.1))
    return model.state_dict()


def run(folder: Path | None, *, stop_after: int | None = None, **options: Any) -> tuple[Net, Outcome]:
    """A run that is interrupted after so many steps (or not), from the same dense network each time."""
    model = trained()
    steps = 0

    def listen(event: Step | EpochLog) -> None:
        nonlocal steps
        steps += isinstance(event, Step)
        if stop_after is not None and steps == stop_after and isinstance(event, Step):
            raise Killed

    torch.manual_seed(random.getrandbits(30))  # whatever was drawn before a run must not matter
    recipe = load_recipe(options.pop("recipe", RECIPE))
    run_options = RunOptions(folder, **options)
    return model, PruningRun(model, task(), recipe, run_options, listen).run()


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_reports_every_point_and_ends_pruned() -> None:
    events: list[Any] = []
    model = trained()
    outcome = PruningRun(model, task(), load_recipe(RECIPE), listen=events.append).run()
    assert outcome.dense is not None
    assert outcome.dense > 70
    assert outcome.retrained == outcome.log[-1].record.metric
    assert outcome.one_shot is not None
    assert outcome.regularised is None
    assert [log.record.phase for log in outcome.log] == ["retrain", "retrain"]
    assert sum(isinstance(event, Step) for event in events) == 8
    assert {row.name: round(row.rate, 1) for row in outcome.layers}["second"] == 4.5
    assert evaluate(model, task(), task().validation) == outcome.retrained


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5, 7])
def test_an_interrupted_run_goes_on_with_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    straight, outcome = run(None)
    with pytest.raises(Killed):
        run(tmp_path, stop_after=stop_after, every=1)
    resumed = bool(checkpoints(tmp_path))
    model, again = run(tmp_path, resume=resumed, every=1)
    assert same(straight, model)
    assert again.retrained == outcome.retrained
    assert len(again.log) == 2
    assert len(checkpoints(tmp_path)) == 2


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(EspalierError, match=r"the recipe has changed: retrain\.epochs: 2, now 3"):
        run(tmp_path, resume=True, recipe={**RECIPE, "retrain": {**RECIPE["retrain"], "epochs": 3}})
    model = net(seed=4)
    with pytest.raises(EspalierError, match="began from another model or other weights"):
        PruningRun(model, task(), load_recipe(RECIPE), RunOptions(tmp_path, resume=True)).run()
    with pytest.raises(EspalierError, match="no checkpoint in"):
        run(tmp_path / "none", resume=True)


def test_a_changed_recipe_is_taken_when_told(tmp_path: Path) -> None:
    run(tmp_path)
    changed = {**RECIPE, "retrain": {**RECIPE["retrain"], "epochs": 3}}
    _, outcome = run(tmp_path, resume=True, changed_recipe=True, recipe=changed)
    assert len(outcome.log) == 3


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    run(tmp_path)
    newest = checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:500])
    with pytest.raises(EspalierError, match="not a readable checkpoint: remove it to go on from"):
        load_checkpoint(tmp_path)
    newest.unlink()
    model, _ = run(tmp_path, resume=True)
    assert same(model, run(None)[0])
    torch.save({"format": 99}, newest)
    with pytest.raises(EspalierError, match="format 99, expected 1"):
        load_checkpoint(tmp_path)
    torch.save([1], newest)
    with pytest.raises(EspalierError, match="format None"):
        load_checkpoint(tmp_path)


def test_nothing_half_written_is_left_by_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, {"a": 1})

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(EspalierError, match="No space left on device"):
        save_checkpoint(tmp_path, 2, {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001.pt"]


def test_torchs_writer_does_not_end_the_process_where_the_disk_is_full() -> None:
    """A file object that raises would: its destructor writes the archive's end."""
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), steady(Full()) as writer:  # type: ignore[arg-type]
        torch.save({"a": torch.zeros(1000)}, writer)


class Odd(list[Any]):
    """Batches whose length is not their number, or that break off."""

    def __init__(self, batches: Any, length: int, error: Exception | None = None) -> None:
        super().__init__(batches)
        self.length, self.error = length, error

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(("length", "error", "message"), [
    (9, None, "--data: the train data gave 4 batches, their length says 9"),
    (2, None, "--data: the train data gave more batches, their length says 2"),
    (4, ValueError("row 7"), "--data: the train data: ValueError: row 7")])
def test_data_that_end_too_soon_are_one_line(length: int, error: Exception | None, message: str) -> None:
    made = task()
    recipe = {**RECIPE, "method": {"name": "one_shot"}, "retrain": {"epochs": 1}}
    with pytest.raises(EspalierError, match=message):
        PruningRun(net(), Task(Odd(made.train, length, error), made.validation), load_recipe(recipe)).run()


def test_a_step_that_fails_is_named() -> None:
    made = task()
    broken = Task(made.train, made.validation, loss=lambda outputs, batch: outputs.detach().sum())
    with pytest.raises(EspalierError, match="step 1 of epoch 2: RuntimeError: element 0 of tensors"):
        PruningRun(net(), broken, load_recipe(RECIPE)).run()


def test_a_loss_that_is_no_number_stops_and_names_the_layer(tmp_path: Path) -> None:
    recipe = {**RECIPE, "retrain": {"epochs": 2, "peak": 1e30, "warmup": 0.0}}
    recipe["optimizer"] = {"momentum": 0.0}
    with pytest.raises(EspalierError, match=r"the loss is (nan|inf) in step .* the largest weight is in"):
        run(tmp_path, recipe=recipe)


@pytest.mark.parametrize(("change", "message"), [
    ({"loss": lambda outputs, batch: outputs}, r"loss must be one number as a tensor, found \[16, 4\]"),
    ({"loss": lambda outputs, batch: 1.0}, "loss must be one number as a tensor, found float"),
    ({"loss": lambda outputs, batch: outputs[batch]}, "cannot take a train batch: "),
    ({"inputs": lambda batch: (batch[1],)}, "cannot take a train batch: RuntimeError"),
    ({"scored": lambda outputs, batch: (outputs,)}, "cannot take a train batch: TypeError")])
def test_what_the_model_cannot_take_is_one_line(change: dict[str, Any], message: str) -> None:
    made = task()
    broken = Task(made.train, made.validation, **change)
    with pytest.raises(EspalierError, match=message):
        check_task(net(), broken)


@pytest.mark.parametrize(("parts", "message"), [
    ({"train": []}, "train data hold no batch"), ({"validation": iter([])}, "need a length"),
    ({"higher_is_better": False}, "MulticlassAccuracy higher is better")])
def test_a_task_that_is_none(parts: dict[str, Any], message: str) -> None:
    made = task()
    with pytest.raises(EspalierError, match=message):
        Task(**{"train": made.train, "validation": made.validation, **parts})


def test_batch_norm_is_estimated_for_the_weights_there_are() -> None:
    model = trained()
    model.first.weight.data *= 3
    momentum = model.norm.momentum
    dropped = model.drop.training
    estimate_batch_norm(model, task())
    expected = model.first(task().train.x).mean((0, 2, 3))
    assert torch.allclose(model.norm.running_mean, expected, atol=0.02)
    assert model.norm.momentum == momentum
    assert model.drop.training == dropped


def test_dense_training_does_not_depend_on_what_was_drawn_before() -> None:
    first = trained()
    torch.rand(7)
    trained_weights.cache_clear()
    assert same(first, trained())


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from functools import cache
from pathlib import Path
from espalier.frontends.pruning.engine import PruningRun, RunOptions
from espalier.frontends.pruning.checkpoint import checkpoints
from espalier.frontends.pruning.recipe import load_recipe
from support.training import net, task
folder = Path({folder!r})
model = net()
recipe = load_recipe({recipe!r})
import time
def slow(event):
    time.sleep(0.02)
options = RunOptions(folder, resume=bool(checkpoints(folder)), every=3)
PruningRun(model, task(256), recipe, options, slow).run()
torch.save(model.state_dict(), folder / "final.pt")
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL at random moments, until a run comes through."""
    recipe = {**RECIPE, "retrain": {"epochs": 3, "peak": 0.05}}
    finals = []
    moments = random.Random(1)
    for name, kills in (("straight", 0), ("killed", 2)):
        folder = tmp_path / name
        folder.mkdir()
        script = SCRIPT.format(tests=str(Path(__file__).parents[3]), folder=str(folder), recipe=recipe)
        done = 0
        while not (folder / "final.pt").exists():
            process = subprocess.Popen([sys.executable, "-c", script], env=copy.copy(dict(os.environ)))
            if done < kills:
                while process.poll() is None and len(checkpoints(folder)) == 0:
                    time.sleep(0.05)  # a first checkpoint, so that the kills hit the training
                time.sleep(moments.uniform(0, 1.5) + (4 if done else 0))
                process.send_signal(signal.SIGKILL)
                done += 1
            assert process.wait() in (0, -signal.SIGKILL)
        finals.append(torch.load(folder / "final.pt", weights_only=True))
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
