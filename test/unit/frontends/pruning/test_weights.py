"""Trained weights from files: what training scripts write is found, what is another model's is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.pruning.weights import load_weights
from torch import nn


def state(**other: Any) -> dict[str, Any]:
    return {"weight": torch.full((2, 3), 5.0), "bias": torch.zeros(2), **other}


class Code:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize("found", [
    state(), {"state_dict": state(), "epoch": 3}, {"model": state(weight=torch.full((2, 3), 5.0).half())},
    {"module." + name: value for name, value in state().items()},
    {"state_dict": {"model." + name: value for name, value in state().items()}}])
def test_state_dicts_are_found_in_what_training_scripts_write(tmp_path: Path, found: Any) -> None:
    torch.save(found, tmp_path / "net.pth")
    module = nn.Linear(3, 2)
    load_weights(module, tmp_path / "net.pth")
    assert torch.equal(module.weight, torch.full((2, 3), 5.0))


@pytest.mark.parametrize(("found", "message"), [
    (state(head=torch.ones(2)), r"'head' is \[2\] in the file, missing in the model"),
    ({"weight": torch.ones(2, 3)}, r"'bias' is missing in the file, \[2\] in the model"),
    (state(weight=torch.ones(2, 4)), r"'weight' is \[2, 4\] in the file, \[2, 3\] in the model"),
    (state(weight=torch.ones(2, 3, dtype=torch.complex64)), r"'weight' is \[2, 3\] complex in the file"),
    (state(weight=torch.ones(2, 3).to_sparse()), r"'weight' is \[2, 3\] sparse in the file"),
    (state(weight=torch.ones(2, 3, device="meta")), r"'weight' is \[2, 3\] meta in the file"),
    (state(weight=7), "expected a state dict of tensors"), (torch.ones(3), "expected a state dict"),
    ({"state_dict": [1]}, "expected a state dict"), (state(x=Code()), "no state dict that can be"),
    (None, "no state dict that can be read safely")])
def test_other_files_are_one_line(tmp_path: Path, found: Any, message: str,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    if found is None:
        path.write_bytes(b"")
    else:
        torch.save(found, path)
    with pytest.raises(EspalierError, match=message) as caught:
        load_weights(nn.Linear(3, 2), path)
    assert len(str(caught.value).splitlines()) == 1
    assert not capsys.readouterr().out
