"""Saved programs: none runs code when it is read, unless the user trusts it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends import load_program
from torch import nn


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(self.path), "w")


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 8)
        self.register_buffer("scale", torch.tensor(2.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).reshape(-1, 2) * self.scale


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with a size that is free: its file holds expressions."""
    path = tmp_path / "good.pt2"
    shapes = ({0: torch.export.Dim("rows", min=2)},)
    torch.export.save(torch.export.export(Scaled().eval(), (torch.randn(6, 4),), dynamic_shapes=shapes), path)
    return path


def changed(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> Path:
    """A copy of the archive whose members went through ``change``, with others added."""
    target = path.with_name("bad.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        folder = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, data in more.items():
            new.writestr(f"{folder}/{name.replace('__', '/')}", data)
    return target


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(EspalierError) as caught:
        load_program(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in (*parts, "give --trust")), message


def test_a_program_is_read(program: Path) -> None:
    loaded, inputs = load_program(program)
    with torch.no_grad():
        assert loaded.module()(*inputs).shape == (24, 2)


@pytest.mark.parametrize("first", [b"\x80\x02\x00\x00", b"PK\x03\x04"])
def test_weights_that_look_like_a_pickle(program: Path, first: bytes) -> None:
    """A tensor's bytes are data, whatever they begin with."""
    loaded, _ = load_program(changed(program, lambda name, data: first + data[4:] if name.endswith("weight_0")
                                     else data))
    assert loaded.state_dict["linear.weight"].detach().numpy().tobytes()[:4] == first


@pytest.mark.parametrize("member", ["sample_inputs/model.pt", "weights/weight_0", "extra/x.pt"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickle_of_more_than_tensors(program: Path, member: str, form: str) -> None:
    trace = program.with_name("ran")
    stream = io.BytesIO()
    if form == "torch":
        torch.save((Touch(trace),), stream)
    else:
        pickle.dump(Touch(trace), stream)
    bad = changed(program, lambda name, data: stream.getvalue() if name.endswith(member)
                  else data.replace(b'"use_pickle": false', b'"use_pickle": true'),
                  **{"extra__x.pt": stream.getvalue()})
    refused(bad, "is a pickle of more than tensors")
    assert not trace.exists()


def test_trust_runs_it(program: Path) -> None:
    """The other way round: the pickle is really one that loading runs."""
    trace = program.with_name("ran")
    stream = io.BytesIO()
    torch.save((Touch(trace),), stream)
    bad = changed(program, lambda name, data: stream.getvalue() if name.endswith("inputs/model.pt") else data)
    with pytest.raises((EspalierError, TypeError, AttributeError)):
        load_program(bad, trust=True)
    assert trace.exists()


@pytest.mark.parametrize(("name", "data", "what"), [
    ("data__constants__custom_obj_0", b"x", "is a pickled object"),
    ("data__constants__opaque_obj_0", pickle.dumps(1), "is a pickled object"),
    ("data__aotinductor__model__code.so", b"x", "is a shared library"),
    ("data__constants__tensor_0", b"\x7fELF\x02", "is a shared library")])
def test_members_that_are_programs(program: Path, name: str, data: bytes, what: str) -> None:
    refused(changed(program, lambda _, old: old, **{name: data}), what)


@pytest.mark.parametrize("text", [
    "__import__('os').system('true')", "eval(chr(95))", "().__class__", "s0.real", "Symbol('x' + 'y')",
    "open('x')", "[1]", "lambda: 1"])
def test_expressions_that_are_no_sizes(program: Path, text: str) -> None:
    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("model.json"):
            return data
        whole = data.decode()
        start = whole.index('"expr_str": "') + len('"expr_str": "')
        return (whole[:start] + json.dumps(text)[1:-1] + whole[whole.index('"', start) :]).encode()

    refused(changed(program, change), "which is no size")


@pytest.mark.parametrize("target", ["torch.os.system", "builtins.eval", "torch.utils.cpp_extension.load"])
def test_calls_that_are_no_operators(program: Path, target: str) -> None:
    bad = changed(program, lambda name, data: data.replace(b"torch.ops.aten.linear.default", target.encode())
                  if name.endswith("model.json") else data)
    refused(bad, f"calls '{target}', which is no operator")


def test_no_program_at_all(tmp_path: Path) -> None:
    for data in (b"", b"PK\x03\x04", b"\x80\x02."):
        (tmp_path / "x.pt2").write_bytes(data)
        with pytest.raises(EspalierError, match=r"x.pt2: not a torch.export program \(") as caught:
            load_program(tmp_path / "x.pt2")
        assert "\n" not in str(caught.value)
