"""``espalier prune``: a run on a tiny network, the dry run, shipped recipes, one line for mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from espalier.frontends import load_model
from espalier.frontends.pruning.search import search
from espalier.frontends.pruning.shipped import find_recipe, shipped_recipes
from espalier.frontends.pruning.targets import assign
from espalier.tools.espalier import app
from support.training import net
from typer.testing import CliRunner

RECIPE = """\
layers:
  - {match: "*", scheme: pattern, entries: 4, patterns: 4, connectivity: 2}
method: {name: admm, epochs: 2, stages: [1, 3], peak: 0.05}
retrain: {epochs: 1, peak: 0.05}
"""
FILE = """\
import torch
from support import training
def model():
    return training.net(), (torch.zeros(1, 2, 6, 6),)
def data():
    return training.task()
def nothing():
    return 3
def wrong():
    return training.net(), (torch.zeros(1, 3, 6, 6),)
def masked():
    net = training.net()
    torch.nn.utils.prune.l1_unstructured(net.second, "weight", 0.5)
    return net, (torch.zeros(1, 2, 6, 6),)
def wrapped():
    return torch.nn.DataParallel(training.net()), (torch.zeros(1, 2, 6, 6),)
def no_weights():
    return torch.nn.ReLU(), (torch.zeros(1, 2, 6, 6),)
def ends():
    raise SystemExit(3)
def broken():
    raise ValueError("no such disk")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.py").write_text(FILE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["prune", *arguments])
    return result.exit_code, result.output


@pytest.mark.slow
def test_a_run_writes_a_program_that_loads_again(folder: Path) -> None:
    torch.save(net(seed=2).state_dict(), "w.pt")
    code, text = call("file.py:model", "--weights", "w.pt", "--data", "file.py:data", "--recipe",
                      "recipe.yaml", "-o", "pruned.pt2", "--checkpoint", "ck")
    assert code == 0, text
    summary = json.loads((folder / "pruned.json").read_text())
    assert summary["metrics"]["retrained"] is not None
    assert {row["name"]: round(row["rate"], 1) for row in summary["layers"]}["second"] == 4.5
    assert len(summary["times"]) == 2
    assert len((folder / "pruned.csv").read_text().splitlines()) == 4
    assert "<svg" in (folder / "pruned.html").read_text()
    assert "times as fast as dense" in text
    program, _ = load_model(str(folder / "pruned.pt2"))
    assert int(torch.count_nonzero(program.state_dict["second.weight"])) == 16 * 16 * 4 // 2


def test_the_dry_run_trains_nothing_and_names_the_lines(folder: Path) -> None:
    code, text = call("file.py:model", "--recipe", "recipe.yaml", "--dry-run")
    assert code == 0, text
    assert "recipe.yaml:2 (first or depthwise: patterns only)" in text
    assert "multiply-adds" in text
    assert "duration" not in text
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["file.py", "recipe.yaml"]


@pytest.mark.slow
def test_the_dry_run_with_data_tells_how_long_it_would_take(folder: Path) -> None:
    code, text = call("file.py:model", "--recipe", "recipe.yaml", "--dry-run", "--data", "file.py:data")
    assert code == 0, text
    assert "minutes for 3 epochs of 4 steps" in text


@pytest.mark.slow
def test_tensorboard_gets_every_epoch(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, text = call("file.py:model", "--data", "file.py:data", "--recipe", "recipe.yaml", "--log", "tb",
                      "-o", "pruned.pt2")
    assert code == 0, text
    events = EventAccumulator(str(folder / "tb")).Reload()
    assert [event.step for event in events.Scalars("metric")] == [1, 2, 3]
    assert len(events.Scalars("residual")) == 2


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "prune needs MODEL and --recipe and --data and --output"),
    (["--recipe", "vgg61", "--dry-run", "file.py:model"], "of that name: did you mean vgg16?"),
    (["--recipe", "none.yaml", "--dry-run", "file.py:model"], "cannot read the recipe 'none.yaml'"),
    (["--data", "file.py:nothing"], "expected it to return an espalier.frontends.tasks.Task, found int"),
    (["--data", "file.py:broken"], "ValueError: no such disk"),
    (["--data", "file.py:none"], "no function 'none'"), (["--data", "none.py:data"], "none.py: no such file"),
    (["--data", "data"], "--data expects path.py:function"),
    (["-o", "pruned.pt"], "--output expects a .pt2 file"), (["--resume"], "--resume needs --checkpoint"),
    (["--weights", "file.py"], "no state dict that can be read safely"),
    (["--weights", "none.pt"], "none.pt: no such file"),
    (["--log", "file.py"], "--log: cannot make the folder 'file.py': File exists"),
    (["--checkpoint", "file.py"], "--checkpoint: cannot make the folder 'file.py'"),
    (["--data", "file.py:ends"], "file.py:ends: it ended the program (3)"),
    (["--floor", "nan"], "--floor expects a number, found nan"),
    (["file.py:wrong"], "torch.export cannot trace Net with its example inputs: RuntimeError: Given"),
    (["file.py:masked"], "layer 'second' computes its weight"),
    (["file.py:no_weights"], "the model has no layers to prune"),
    (["--latency", "12"], "--latency expects a time such as 12ms, found '12'"),
    (["--latency", "..ms"], "--latency expects a time such as 12ms"),
    (["--latency", "1ms", "--speedup", "2"], "--latency and --speedup: one target at a time"),
    (["--search-trials", "2"], "--search-trials needs --latency"),
    (["--speedup", "1e6"], "is below what the highest rates reach"),
    (["--floor", "101"], "--floor 101: the dense model itself has a metric of")])
def test_a_mistake_is_one_line_and_leaves_no_file(arguments: list[str], message: str, folder: Path) -> None:
    defaults = {"--data": "file.py:data", "--recipe": "recipe.yaml", "-o": "pruned.pt2"}
    rest = [part for name, value in defaults.items() if name not in arguments for part in (name, value)]
    if not arguments or "--dry-run" in arguments:
        rest = []
    given = arguments[0].startswith("file.py") if arguments else False
    code, text = call(*arguments, *rest, *(["file.py:model"] if rest and not given else []))
    assert code == 1
    assert message in text
    assert len(text.strip().splitlines()) == 1
    assert not (folder / "pruned.pt2").exists()


@pytest.mark.slow
def test_rates_for_a_speedup_are_found_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured times mean nothing on so small a network, predicted ones stand in: that a target is read, kept
    and trained at is what counts."""
    measured = search.network_times
    monkeypatch.setattr(search, "network_times",
                        lambda *given, **options: measured(*given, **options | {"runs": 0}))
    arguments = ("file.py:model", "--recipe", "recipe.yaml", "--data", "file.py:data", "--speedup", "1.1")
    code, text = call(*arguments, "-o", "pruned.pt2")
    assert code == 0, text
    assert "wrote search.csv" in text
    code, text = call(*arguments, "--dry-run")
    assert code == 0, text
    assert "read search.csv" in text
    rows = json.loads((folder / "pruned.json").read_text())["layers"]
    assert all(row["rate"] > 1 for row in rows)


def test_the_schema_is_json(folder: Path) -> None:
    code, text = call("--schema")
    assert code == 0
    assert "layers" in json.loads(text)["properties"]


def test_there_is_a_recipe_for_the_papers_networks() -> None:
    assert {"vgg16", "resnet18", "resnet50", "mobilenet_v2", "c3d", "r2plus1d_18", "gru"} <= set(
        shipped_recipes())
    assert assign(load_model("mobilenet_v2")[0], find_recipe("mobilenet_v2")).targets


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_fits_its_network(name: str) -> None:
    """At the papers' rates: every layer can keep what its rule asks for, and would be found."""
    targets = assign(load_model(name)[0], find_recipe(name)).targets
    assert len(targets) >= 4
    assert all(target.rate > 1 for target in targets)
