"""The tool that tries packaged networks: its table, its children, and three small networks."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.tools.networks import __main__ as command
from espalier.tools.networks.catalogue import NETWORKS, Network, network
from espalier.tools.networks.child import Trial
from espalier.tools.networks.rows import EQUAL, HANG, Row, read_rows, table, verdicts, write_rows
from espalier.tools.networks.stand_ins import stand_ins
from espalier.tools.networks.weights import another, settle
from torch import nn

GOOD = Row("good", "pytorchcv 1", EQUAL, dense_least=1.0, torch_least=2.0, inductor_least=1.5,
           pruned_least=0.5, macs=400, pruned_macs=100, dense_sums=1.0, pruned_sums=1.01)
SLOW = Row("slow", "timm 1", EQUAL, dense_least=4.0, torch_least=2.0, pruned_least=5.0, macs=4, pruned_macs=1,
           dense_sums=0.9)
STUCK = Row("stuck", "timm 1", HANG, "compile dense: no answer in 9 s | really")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "networks.csv"
    assert read_rows(path) == []
    write_rows(path, [GOOD, STUCK])
    assert read_rows(path) == [GOOD, STUCK]


def test_the_table_says_what_is_slow_or_broken() -> None:
    text = table([GOOD, SLOW, STUCK])
    assert "| pytorchcv 1 | 1.00 ms | 2.00 ms | 1.50 ms | 2.00 | 1.50 | 0.50 ms | 2.00 | 4.00 |" in text
    assert "hang: compile dense: no answer in 9 s / really |" in text
    lines = verdicts([GOOD, SLOW, STUCK])
    assert lines[0] == "equal to PyTorch: 2 of 3 (stuck)"
    assert lines[1].endswith("slower: 1 (slow 0.50)")
    assert "(1 networks); slower: 0" in lines[2]
    assert lines[3].endswith("slower: 1 (slow 0.80)")
    assert "median 0.35, 0.20 to 0.50" in lines[4]
    assert lines[5].endswith("more than 3 % off: 1 (slow 0.90)")


def test_names_of_networks_are_single_and_known() -> None:
    names = [each.name for each in NETWORKS]
    assert len(set(names)) == len(names) >= 30
    assert network("bert").package == "transformers"
    with pytest.raises(EspalierError, match="did you mean bert"):
        network("bart")
    with pytest.raises(EspalierError, match="unknown network 'zzz'"):
        command._chosen("bert,zzz")


def test_stand_ins_are_there_inside_the_block_alone() -> None:
    with stand_ins("no_such_package"):
        module = importlib.import_module("no_such_package.ops.misc")
        derived = type("Derived", (module.Base,), {})
        assert not isinstance(3, derived)
        assert issubclass(module.Base.Inner, object)
        assert not hasattr(module, "__file__")
    assert "no_such_package" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_package.ops.misc")


def test_norms_get_the_statistics_of_inputs() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    image = torch.randn(1, 3, 8, 8)
    out = settle(module, (image,))(image)
    assert not module.training
    assert float(module[1].running_var.min()) != 1.0
    assert 0.1 < float(out.detach().std()) < 3
    assert not torch.equal(another(image), image)
    assert another(torch.arange(3)).tolist() == [2, 1, 0]
    assert another(np.zeros((2, 3), np.float32)).std() > 0
    assert another(np.array(16000)) == 16000


def options(tmp_path: Path, seconds: float) -> argparse.Namespace:
    return argparse.Namespace(out=tmp_path, seconds=seconds, measure=0.1, no_inductor=True, no_pruned=False)


@pytest.mark.parametrize(("body", "outcome", "note"), [
    ("time.sleep(60)", "hang", "compile dense: no answer in "),
    ("os._exit(9)", "crash", "compile dense: the process ended with 9"),
    ('print(json.dumps({"outcome": "equal", "layers": 3}))', "equal", "")])
def test_every_end_of_a_child_is_a_row(body, outcome, note, monkeypatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text('import json, os, time\n'
                     'print(json.dumps({"begin": "compile dense"}), flush=True)\n' + body)
    popen = command.subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen",
                        lambda arguments, **more: popen([arguments[0], str(child)], **more))
    row = command.tried(network("bert"), options(tmp_path, 3.0))
    assert (row.network, row.outcome) == ("bert", outcome)
    assert row.note.startswith(note)
    assert row.layers == (3 if outcome == "equal" else 0)


def test_a_network_without_its_package_is_a_row(tmp_path: Path, capsys) -> None:
    absent = Network("absent", "no-such-package", lambda: (nn.Identity(), ()))
    with pytest.raises(Exception, match="package no-such-package is not installed"):
        Trial(absent, tmp_path, 0.1).run()
    assert '"begin": "import"' in capsys.readouterr().out


def test_what_has_a_row_is_not_tried_again(monkeypatch, tmp_path: Path, capsys) -> None:
    write_rows(tmp_path / "networks.csv", [Row("bert", "transformers 5", EQUAL)])
    tried = []
    monkeypatch.setattr(command, "tried", lambda each, options: tried.append(each.name) or Row(
        each.name, each.package, "wrong", "off"))
    words = ["--only", "bert,vit", "--out", str(tmp_path)]
    assert command.main(words) == 1
    assert tried == ["vit"]
    assert "wrong: off" in capsys.readouterr().out
    assert [row.network for row in read_rows(tmp_path / "networks.csv")] == ["bert", "vit"]
    assert command.main([*words, "--table"]) == 1
    assert tried == ["vit"]


def packaged(name: str, module: str) -> object:
    there = find_spec(module) is not None
    return pytest.param(name, marks=() if there else pytest.mark.skip(reason=f"{module} is not installed"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    packaged("shufflenetv2_w1", "pytorchcv"), packaged("mobilevit", "transformers"),
    packaged("segformer", "transformers")])
def test_a_packaged_network_is_equal_to_pytorch(name: str, tmp_path: Path) -> None:
    row = command.tried(network(name), options(tmp_path, 400.0))
    assert row.outcome == EQUAL, row.note
    assert row.layers >= row.modules
    assert row.reference == 0
    assert row.pruned_macs < 0.7 * row.macs
