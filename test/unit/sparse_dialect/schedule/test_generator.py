"""The digest of the code generator: another one where what decides code is another, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
from espalier.sparse_dialect.schedule.generator import code_generator, digest_of


def package(folder: Path, **changes: str) -> Path:
    """A small package of sources, in the order of which nothing lies."""
    files = {"schedule/a.py": "a", "lowering/cpu/b.py": "b", "lowering/gpu/c.py": "c", "ir/d.py": "d"}
    for name, text in {**files, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(("change", "same"), [
    ({}, True), ({"ir/d.py": "other"}, True), ({"lowering/gpu/c.py": "other"}, True),
    ({"schedule/note.txt": "no source"}, True), ({"schedule/a.py": "other"}, False),
    ({"lowering/cpu/b.py": "other"}, False), ({"schemes/new.py": ""}, False)])
def test_only_what_decides_code_counts(tmp_path: Path, change: dict[str, str], same: bool) -> None:
    plain, changed = package(tmp_path / "a"), package(tmp_path / "b", **change)
    assert (digest_of(plain) == digest_of(changed)) == same


def test_a_line_that_moves_to_another_file_counts(tmp_path: Path) -> None:
    one = package(tmp_path / "a", **{"schedule/a.py": "xy", "schedule/b.py": "z"})
    other = package(tmp_path / "b", **{"schedule/a.py": "x", "schedule/b.py": "yz"})
    assert digest_of(one) != digest_of(other)


def test_this_one_has_a_version_and_a_digest() -> None:
    version, _, digest = code_generator().rpartition("-")
    assert version
    assert len(digest) == 12
