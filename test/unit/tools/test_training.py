"""The page of a training, from its log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from espalier.sparse_dialect import EspalierError
from espalier.tools.training import training_page

LOG = """\
epoch,phase,loss,metric,residual,learning_rate,seconds,frequencies
1,regularise,2.0,50.0,0.4,0.05,1.0,"[[5, 1, 9]]"
2,regularise,1.0,60.0,0.1,0.05,1.0,"[[7, 8]]"
3,retrain,0.5,70.0,,0.05,1.0,"[[7, 8]]"
"""


@dataclass(frozen=True)
class Row:
    name: str = "features.<0>"
    scheme: str = "pattern"
    asked: float = 8.1
    rate: float = 8.125


def test_every_column_is_a_curve_and_every_layer_a_row(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    page = training_page("vgg & co", tmp_path / "log.csv", [Row()])
    assert "vgg &amp; co" in page
    assert "features.&lt;0&gt;" in page
    assert "8.12" in page
    curves = [line.count(",") for line in re.findall(r'points="([^"]*)"', page)]
    assert curves == [3, 3, 2, 3, 3, 1]  # loss, metric, residual, then the three most frequent patterns
    assert page.count("masks made") == 4
    loss = re.findall(r'points="([^"]*)"', page)[0]
    assert loss == "60.0,20.0 425.0,133.3 790.0,190.0"


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,2\n", "no log of a training"), (LOG.splitlines()[0] + "\n", "a log without epochs"),
    (LOG.replace("2.0,", "x,"), "could not convert string")])
def test_what_is_no_log_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(EspalierError, match=message):
        training_page("x", tmp_path / "log.csv")
    with pytest.raises(EspalierError, match="no log of a training"):
        training_page("x", tmp_path / "none.csv")
