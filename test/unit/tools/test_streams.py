"""What the programs write to."""

from __future__ import annotations

import sys
from io import BytesIO, TextIOWrapper

import pytest
from espalier.tools.streams import take_any_text


@pytest.mark.parametrize(("encoding", "written"), [("ascii", b"caf\\xe9"), ("utf-8", "café".encode())])
def test_names_that_an_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str,
                                                  written: bytes) -> None:
    stream = TextIOWrapper(BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    take_any_text()
    print("café", end="", flush=True)
    assert stream.buffer.getvalue() == written  # type: ignore[attr-defined]


def test_a_process_without_streams_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    take_any_text()
    assert sys.stdout is None
