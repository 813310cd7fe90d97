"""The program around one model: its options, its JSON lines, its files, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from espalier.runtime.abi import DTYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.fake_model import (
    RUNNER,
    SANITIZER_OPTIONS,
    SANITIZERS,
    X,
    affine,
    affine_file,
    build,
    build_runner,
    needs_gcc,
    sums_file,
)
from support.tiers import examples

pytestmark = needs_gcc


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_runner(tmp_path_factory.mktemp("c") / "runner", *SANITIZERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the model and an input."""
    path = tmp_path_factory.mktemp("runner")
    affine_file().write(path / "m")
    np.save(path / "x.npy", 2 * X)
    return path


def run(program: Path, folder: Path, *arguments: str, leaks: bool = True) -> subprocess.CompletedProcess[str]:
    """``leaks``: a leak is a failure."""
    options = {name: f"{value}:detect_leaks={leaks:d}" for name, value in SANITIZER_OPTIONS.items()}
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=folder, timeout=60,
                          env={**os.environ, **options})


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_check_and_time(runner: Path, folder: Path) -> None:
    check, times = lines(run(runner, folder, "m", "--check", "--threads", "3", "--repeat", "4"))
    assert 0 <= check["check"] < 1e-6
    assert (times["threads"], times["runs"]) == (min(3, len(os.sched_getaffinity(0))), 4)
    assert 0 < times["min_ms"] <= times["median_ms"] <= times["max_ms"]


def test_the_processors_are_the_callers_choice(runner: Path, folder: Path) -> None:
    here = min(os.sched_getaffinity(0))
    _, times = lines(run(runner, folder, "m", "--check", "--threads", "0", "--cpus", f"{here}"))
    assert times["threads"] == 1


def test_files(runner: Path, folder: Path) -> None:
    lines(run(runner, folder, "m", "--input", "x.npy", "--output", "y.npy", "--output", "positives.npy"))
    expected = affine(2 * X)
    assert np.array_equal(np.load(folder / "y.npy"), expected[0])
    assert np.array_equal(np.load(folder / "positives.npy"), expected[1])
    assert np.load(folder / "positives.npy").dtype == np.int64


def test_recorded_inputs_without_files(runner: Path, folder: Path) -> None:
    lines(run(runner, folder, "m", "--output", "a.npy", "--output", "b.npy"))
    assert np.array_equal(np.load(folder / "a.npy"), affine(X)[0])


def test_profile(runner: Path, folder: Path) -> None:
    times, *labels = lines(run(runner, folder, "m", "--profile"))
    assert [line["label"] for line in labels] == ["product", "sum"]
    assert sum(line["ms"] for line in labels) == pytest.approx(times["max_ms"], abs=0.05)


def test_labels_are_quoted(runner: Path, folder: Path) -> None:
    file = affine_file()
    labels = ["start", 'a "b"\\', "line\nfeed é"]
    replace(file, manifest={**file.manifest, "labels": labels}).write(folder / "labels")
    _, *found = lines(run(runner, folder, "labels", "--profile"))
    assert [line["label"] for line in found] == labels[1:]


@pytest.mark.slow
def test_free_length(tmp_path: Path) -> None:
    program = build(tmp_path / "runner", [RUNNER], "-DESPALIER_MODEL=espalier_model_sums", *SANITIZERS)
    sums_file(5).write(tmp_path / "m")
    x = np.ones((30, 2), np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "start.npy", np.zeros(2, np.float32))
    inputs = ("--input", "x.npy", "--input", "start.npy")
    assert len(lines(run(program, tmp_path, "m", "--check", *inputs, "--output", "sums.npy"))) == 2
    assert np.array_equal(np.load(tmp_path / "sums.npy"), np.cumsum(x[::-1], 0)[::-1])


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "which model file? runner FILE"), (("--check",), "which model file?"),
    (("m", "--chekc"), "'--chekc' is no option, or its value is missing"),
    (("m", "--chekc", "1"), "'--chekc' is no option"), (("m", "again", "x"), "'again' is no option"),
    (("m", "--repeat", "0"), "--repeat expects a number of at least 1, found '0'"),
    (("m", "--threads", "two"), "--threads expects a number of at least 0, found 'two'"),
    (("m", "--cpus", "4-"), "--cpus expects processors such as 4-7,2, found '4-'"),
    (("m", "--cpus", "0;1"), "found '0;1'"), (("m", "--cpus", ""), "such as 4-7,2, found ''"),
    (("m", "--cpus", "7-4"), "found '7-4'"), (("m", "--cpus", "0-1023,0"), "found '0-1023,0'"),
    (("m", "--cpus", "9999"), "found '9999'"), (("m", "--cpus", "1023"), "there is no processor 1023 here"),
    (("m", "--threads", "-1"), "found '-1'"), (("m", "--repeat", "2x"), "found '2x'"),
    (("m", "--repeat", ""), "found ''"),
    (("m", "--threads", "300"), "expected at most 256 threads, found 300"),
    (("absent",), "cannot open 'absent': No such file"), ((".",), "'.' is empty or no regular file"),
    (("x.npy",), "not an Espalier model file"), (("unrecorded",), "holds no recorded run"),
    (("differs", "--check"), "the outputs differ from the recorded ones by inf of the largest output"),
    (("m", "--input", "x.npy", "--input", "x.npy"), "the model has 1 inputs, found 2 --input files"),
    (("m", "--output", "y.npy"), "the model has 2 outputs, found 1 --output files"),
    (("m", "--input", "absent.npy"), "cannot open 'absent.npy': No such file"),
    (("m", "--input", "m"), "'m': no .npy array of numbers"),
    (("m", "--input", "short.npy"), "'short.npy': .npy array: its shape and its 23 bytes differ"),
    (("m", "--input", "wide.npy"), "'wide.npy' has another shape or dtype than the model's 'x'"),
    (("m", "--input", "double.npy"), "'double.npy' has another shape or dtype"),
    (("m", "--input", "fortran.npy"), "'fortran.npy': no .npy array of numbers, little-endian, row-major"),
    (("m", "--input", "big_endian.npy"), "'big_endian.npy': no .npy array of numbers"),
    (("m", "--output", "absent/y.npy", "--output", "z.npy"), "cannot write 'absent/y.npy': No such file"),
    (("m", "--output", "/dev/full", "--output", "z.npy"), "cannot write '/dev/full': No space left"),
], ids=lambda part: " ".join(part) if isinstance(part, tuple) else "")
def test_bad_input(runner: Path, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    replace(affine_file(), sample_inputs=[]).write(folder / "unrecorded")
    affine_file([np.full_like(X, np.nan), affine(X)[1]]).write(folder / "differs")
    np.save(folder / "wide.npy", np.zeros((2, 4), np.float32))
    np.save(folder / "double.npy", X.astype(np.float64))
    np.save(folder / "fortran.npy", np.asfortranarray(X))
    np.save(folder / "big_endian.npy", X.astype(">f4"))
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:-1])
    result = run(runner, folder, *arguments, leaks=False)  # an exit on an error leaves them to the system
    assert result.returncode == 1
    assert result.stderr.startswith("runner: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@settings(max_examples=examples(60), deadline=None)
@given(arrays.arrays(st.sampled_from(sorted(DTYPES)), arrays.array_shapes(min_dims=0, max_dims=8)))
def test_any_array_is_read_as_a_record(runner: Path, folder: Path, array: np.ndarray) -> None:
    """A recorded input of another shape or dtype than the model's is found out, and nothing worse happens."""
    replace(affine_file(), sample_inputs=[array]).write(folder / "any")
    result = run(runner, folder, "any", leaks=False)
    fits = array.dtype == np.float32 and array.shape == (2, 3)
    assert (result.returncode == 0) == fits
    assert fits or "member 'input_0.npy' has another shape or dtype than the model's 'x'" in result.stderr
