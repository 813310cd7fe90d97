"""``torch.compile(backend="espalier")``: results, frozen weights that are watched, and what it refuses."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from espalier import EspalierError
from espalier.frontends.models import reference_model
from espalier.frontends.torch import backend, graph_cache
from torch import nn


@pytest.fixture(autouse=True)
def fresh_dynamo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def compilations() -> Iterator[mock.Mock]:
    with mock.patch.object(backend, "compile_model", wraps=backend.compile_model) as compile_model:
        yield compile_model


def small() -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    return nn.Sequential(*layers).eval()


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.slow
def test_pruned_resnet18(compilations: mock.Mock) -> None:
    module, _ = reference_model("resnet18", "pattern:entries=4,patterns=8,connectivity=3.6,linear=8")
    fast = torch.compile(module, backend="espalier", options={"threads": 2})
    x = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        same(fast(x), module(x))
        same(fast(2 * x), module(2 * x))
    assert compilations.call_count == 1


def test_weights_are_frozen(compilations: mock.Mock) -> None:
    """The compiled layers are there, so weights were constants; a changed weight is compiled again."""
    module, x = small(), torch.randn(1, 3, 9, 11)
    fast = torch.compile(module, backend="espalier")
    with torch.no_grad():
        same(fast(x), module(x))
        module[0].weight.mul_(2)
        same(fast(x), module(x))
        module[1].running_mean.add_(1)
        same(fast(x), module(x))
    assert compilations.call_count == 3


@pytest.mark.slow
def test_other_sizes_are_compiled_again() -> None:
    module = small()
    fast = torch.compile(module, backend="espalier")
    with torch.inference_mode():
        for height in (9, 10, 12, 9):
            x = torch.randn(1, 3, height, 7)
            same(fast(x), module(x))


def test_graph_breaks_and_python_around_graphs() -> None:
    def function(x: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        y = x * scale
        torch._dynamo.graph_break()
        return y.relu(), y.sum()

    x = torch.randn(3, 4)
    found = torch.compile(function, backend="espalier")(x, 0.5)
    for got, expected in zip(found, function(x, 0.5), strict=True):
        same(got, expected)


@pytest.mark.slow
def test_dense_mode() -> None:
    module, x = small(), torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        same(torch.compile(module, backend="espalier", options={"sparse": False})(x), module(x))


@pytest.mark.slow
def test_modes_are_accepted() -> None:
    module, x = small(), torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        same(torch.compile(module, backend="espalier", mode="max-autotune")(x), module(x))


# -- what Espalier does not take --------------------------------------------------------------------


class Spectrum(nn.Module):
    """Two layers with operations between them that torch-mlir does not lower."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.before(x).relu()
        return self.after(torch.fft.rfft(y).abs()), y.sum()


class Counter(nn.Module):
    """Counts its calls."""

    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * self.count


@pytest.mark.slow
def test_a_program_is_compiled_around_what_it_does_not_take(compilations: mock.Mock) -> None:
    torch.manual_seed(0)
    module, x = Spectrum().eval(), torch.randn(1, 3, 8, 8)
    fast = torch.compile(module, backend="espalier")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for value in (x, 2 * x):
            with torch.no_grad():
                for got, expected in zip(fast(value), module(value), strict=True):
                    same(got, expected)
    messages = [str(entry.message) for entry in found if "espalier" in str(entry.message)]
    assert len(messages) == 1
    assert "operations run in PyTorch: " in messages[0]
    assert "aten.fft_rfft" in messages[0]
    parts = [call.args[0] for call in compilations.call_args_list[1:]]
    assert len(parts) == 2  # before and behind it
    with torch.no_grad():
        module.after.weight.mul_(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same(fast(x)[0], module(x)[0])


def test_gradients_are_pytorchs() -> None:
    module, x = small().train(), torch.randn(2, 3, 9, 11)
    with pytest.warns(UserWarning, match="gradients are asked for"):
        torch.compile(module, backend="espalier")(x).sum().backward()
    assert module[0].weight.grad is not None


@pytest.mark.slow
@pytest.mark.parametrize(("module", "x", "message"), [
    (small().train(), torch.ones(2, 3, 9, 11), "overwrites"), (Counter(), torch.ones(3), "overwrites"),
    (nn.Linear(3, 3).bfloat16(), torch.ones(2, 3, dtype=torch.bfloat16), "bfloat16")])
def test_graphs_that_run_in_pytorch(module: nn.Module, x: torch.Tensor, message: str) -> None:
    again = copy.deepcopy(module)
    fast = torch.compile(module, backend="espalier")
    with torch.no_grad():
        with pytest.warns(UserWarning, match=message):
            assert torch.equal(fast(x), again(x))
        for _ in range(2):
            assert torch.equal(fast(x), again(x))
    for ours, theirs in zip(module.buffers(), again.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_random_operations_stay_random() -> None:
    fast = torch.compile(lambda x: nn.functional.dropout(x, 0.5), backend="espalier")
    x = torch.ones(100)
    with pytest.warns(UserWarning, match="a graph runs in PyTorch: operation 'native_dropout' .* is random"):
        assert not torch.equal(fast(x), fast(x))


@pytest.mark.slow
def test_random_operations_are_cut_out_of_a_graph() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 8, 3)).requires_grad_(False)
    fast = torch.compile(module, backend="espalier")
    x = torch.randn(1, 3, 9, 9)
    with pytest.warns(UserWarning, match=r"2 of 4 operations run in PyTorch: aten.native_dropout.default \("):
        assert not torch.equal(fast(x), fast(x))


def unknown_option() -> None:
    torch.compile(small(), backend="espalier", options={"thread": 11})(torch.randn(1, 3, 9, 11))


def with_option(**options: Any) -> Callable[[], None]:
    def call() -> None:
        backend.espalier(torch.fx.symbolic_trace(small()), [], options=options)

    return call


def unknown_mode() -> None:
    backend.espalier(torch.fx.symbolic_trace(small()), [], mode="fast")


def strictly(module: Any, x: torch.Tensor) -> None:
    torch.compile(module, backend="espalier", options={"strict": True})(x)


def gradients() -> None:
    strictly(small(), torch.randn(1, 3, 9, 11))


@torch.no_grad()
def training_mode() -> None:
    strictly(small().train(), torch.randn(1, 3, 9, 11))


@torch.no_grad()
def unsupported_operation() -> None:
    strictly(torch.linalg.eigvalsh, torch.eye(3))


@pytest.mark.parametrize(("call", "message"), [
    (gradients, "under torch.no_grad()"),
    (unknown_option, "unknown option 'thread' of torch.compile: did you mean threads?"),
    (with_option(cache="no"), "option 'cache' expected bool, found 'no'"),
    (with_option(sparse="never"), "option 'sparse' expected bool|always, found 'never'"),
    (with_option(threads=True), "option 'threads' expected int|none, found True"),
    (with_option(threads=-1), "found -1"),
    (unknown_mode, "unknown mode 'fast'"), (training_mode, "call .eval()"),
    (unsupported_operation, "linalg_eigh")])
def test_refusals_say_why(call: Callable[[], None], message: str) -> None:
    with pytest.raises((EspalierError, torch._dynamo.exc.BackendCompilerFailed)) as error:
        call()
    assert message in str(error.value)


# -- memory, modes and what is not a tensor -----------------------------------------------------------


def halves(x: torch.Tensor) -> Any:
    """Views of the input, and of one result, which change after a graph break; sizes beside them."""
    rows, doubled = x[1:].t(), x * 2
    first, last = doubled.split(2, 1)
    size = x.shape[0] * 3
    torch._dynamo.graph_break()
    last.add_(1)
    rows.mul_(3)
    return x, rows, doubled, first, size


@pytest.mark.slow
def test_views_share_memory() -> None:
    fast = torch.compile(halves, backend="espalier")
    for x in (torch.randn(3, 4), torch.randn(4, 3).t()):
        ours, theirs = fast(x.clone()), halves(x.clone())
        assert ours[-1] == theirs[-1]
        for got, expected in zip(ours[:-1], theirs[:-1], strict=True):
            same(got, expected)


class Scaled(nn.Module):
    """A layer beside a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.mean


def test_weights_that_change_without_a_trace(compilations: mock.Mock) -> None:
    """New ``.data``, and statistics that BatchNorm writes, count no version."""
    module, x = Scaled().eval(), torch.randn(2, 4)
    fast = torch.compile(module, backend="espalier", options={"cache": False})
    with torch.no_grad():
        fast(x)
        module.layer.weight.data = module.layer.weight.data * 2
        same(fast(x), module(x))
        nn.functional.batch_norm(torch.ones(2, 4), module.mean, torch.ones(4), training=True)
        same(fast(x), module(x))
        assert compilations.call_count == 3


def test_modes_that_change_dtypes_and_gradients() -> None:
    module, x = Scaled().eval(), torch.randn(2, 4)
    fast = torch.compile(module, backend="espalier")

    @torch.compile(backend="espalier")
    def slope(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            return module(x) * 2

    with torch.no_grad():
        with pytest.warns(UserWarning, match="turns gradients on"):
            assert slope(x).requires_grad
        same(fast(x), module(x))
        with torch.autocast("cpu", dtype=torch.bfloat16), pytest.warns(UserWarning, match="autocast is on"):
            assert fast(x).dtype == module(x).dtype
        same(fast(x), module(x))


def test_a_training_graph_is_exported_once() -> None:
    """Its buffers change at each call; what runs in PyTorch does not depend on them."""
    module, x = nn.BatchNorm1d(4).train(), torch.randn(3, 4)
    fast = torch.compile(module, backend="espalier")
    with torch.no_grad():
        with pytest.warns(UserWarning, match="overwrites"):
            fast(x)
        with mock.patch.object(backend, "export_module") as exports:
            fast(x)
    assert not exports.called


@pytest.mark.slow
def test_branches_are_part_of_a_graph() -> None:
    """Their code is, for the cache; bfloat16 stays so, and a tensor whose sign is to be turned is."""
    x = torch.randn(3, 4)
    for step in (1, 2):
        def choose(x: torch.Tensor, step: int = step) -> torch.Tensor:
            return torch.cond(x.sum() > 0, lambda y: y + step, lambda y: y - step, (x,)) * 2

        same(torch.compile(choose, backend="espalier")(x), choose(x))
    assert torch.compile(lambda x: x.bfloat16() * 2, backend="espalier")(x).dtype == torch.bfloat16
    turned = torch.fft.fft(x).conj().imag
    assert turned.is_neg()
    same(torch.compile(lambda x: x * 2, backend="espalier")(turned), turned * 2)


# -- graphs on disk ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_next_process_compiles_nothing(compilations: mock.Mock, tmp_path: Path) -> None:
    script = """
import sys, torch
from espalier.frontends.torch import backend
if sys.argv[1] == "again":
    backend.compile_model = None
torch.manual_seed(0)
module, x = torch.nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8)
with torch.no_grad():
    y = torch.compile(module, backend="espalier")(x)
    assert torch.allclose(y, module(x), atol=1e-5)
"""
    for word in ("first", "again"):
        done = subprocess.run([sys.executable, "-c", script, word], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cache").rglob("*.espalier"))) == 1


@pytest.mark.slow
def test_a_graph_is_known_by_its_weights_sizes_and_options(compilations: mock.Mock) -> None:
    module, x = small(), torch.randn(1, 3, 9, 11)

    def run(value: torch.Tensor, **options: Any) -> None:
        torch._dynamo.reset()
        with torch.no_grad():
            same(torch.compile(module, backend="espalier", options=options)(value), module(value))

    for value, options, count in ((x, {}, 1), (x, {}, 1), (x, {"sparse": False}, 2), (x[..., :8], {}, 3),
                                  (x, {"cache": False}, 4)):
        run(value, **options)
        assert compilations.call_count == count
    with torch.no_grad():
        module[3].bias.add_(1)
    run(x)
    assert compilations.call_count == 5


@pytest.mark.slow
def test_a_damaged_file_is_made_again(compilations: mock.Mock, tmp_path: Path) -> None:
    module, x = small(), torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        torch.compile(module, backend="espalier")(x)
        file, = (tmp_path / "cache").rglob("*.espalier")
        file.write_bytes(file.read_bytes()[:100])
        torch._dynamo.reset()
        same(torch.compile(module, backend="espalier")(x), module(x))
    assert compilations.call_count == 2


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "MOST_BYTES", 250)
    for number in range(4):
        (tmp_path / str(number)).write_bytes(bytes(100))
        os.utime(tmp_path / str(number), (number, number))
    graph_cache._shrink(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["2", "3"]
