"""Every operation that no layer takes against PyTorch, its memory between pages that may not be touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import espalier
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from espalier.runtime.compiled_model import error_of
from support.guarded import guarded, guarded_copy
from torch import nn

TOLERANCE = 1e-5
Function = Callable[..., Any]


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def check(function: Function, *inputs: torch.Tensor, threads: int = 1) -> None:
    """Compiles ``function`` and compares it with PyTorch, on guarded inputs, outputs and activations."""
    module = (function if isinstance(function, nn.Module) else Calls(function)).eval()
    with torch.no_grad():
        expected = module(*inputs)
    expected = list(expected) if isinstance(expected, tuple | list) else [expected]
    compiled = espalier.compile(module, inputs)
    for at_end in (True, False):
        held = [guarded_copy(value.numpy(), at_end) for value in inputs]
        outputs = [guarded(value.shape, value.numpy().dtype, at_end) for value in expected]
        executor = compiled._executor
        executor._arena = guarded(executor._arena.shape, executor._arena.dtype, at_end)
        executor._scratch = guarded(executor._scratch.shape, executor._scratch.dtype, at_end)
        executor.bind()
        compiled._execute(held, outputs, threads)
        for found, value in zip(outputs, expected, strict=True):
            same(found, value.numpy())


def same(found: np.ndarray, expected: np.ndarray) -> None:
    if expected.dtype.kind == "f":
        assert error_of(found.astype(np.float64), expected.astype(np.float64)) <= TOLERANCE
    else:
        np.testing.assert_array_equal(found, expected)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def extremes() -> torch.Tensor:
    """Numbers of every size, both infinities and NaN: a full vector and a rest."""
    special = [0.0, -0.0, 1e-40, -1e-40, 1e-8, -1e-8, 0.3, -0.4, 1.0, -1.0, 9.5, -9.5, 80.0, -80.0, 88.7,
               -87.4, -95.0, 110.0, -110.0, 3e38, -3e38, float("inf"), -float("inf"), float("nan")]
    return torch.tensor(special)


ACTIVATIONS: dict[str, Function] = {
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "exp": torch.exp, "expm1": torch.expm1, "erf": torch.erf,
    "log": torch.log, "log1p": torch.log1p, "rsqrt": torch.rsqrt, "sqrt": torch.sqrt, "gelu": nn.GELU(),
    "silu": nn.SiLU(), "mish": nn.Mish(), "softplus": nn.Softplus(), "elu": nn.ELU(), "selu": nn.SELU(),
    "leaky": nn.LeakyReLU(), "hardswish": nn.Hardswish(), "square": lambda x: x**2, "cube": lambda x: x**3,
    "root": lambda x: x**0.5, "inverse": lambda x: x**-1, "fifth": lambda x: x**5, "abs": torch.abs,
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "neg": torch.neg}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_any_number(name: str) -> None:
    x = extremes()
    if name in ("hardswish", "mish", "gelu", "silu", "selu"):
        x = x[x.abs() < 1e38]  # overflows, and infinity times zero: torch-mlir's formulas are not PyTorch's
    module = ACTIVATIONS[name] if isinstance(ACTIVATIONS[name], nn.Module) else Calls(ACTIVATIONS[name])
    compiled = espalier.compile(module.eval(), (x,))
    found, expected = compiled(x), module(x)
    finite = torch.isfinite(expected)
    assert torch.equal(torch.isfinite(found), finite)
    torch.testing.assert_close(found[~finite], expected[~finite], equal_nan=True)
    absolute = 4e-7 if name in ("erf", "elu", "selu") else 1e-37  # torch-mlir's elu is exp(x) - 1
    torch.testing.assert_close(found[finite], expected[finite], rtol=2e-6, atol=absolute)


@pytest.mark.parametrize("shape", [(1,), (7,), (16,), (3, 5), (2, 1, 33), (5000,), (4, 4100)], ids=str)
def test_chains_of_any_shape(shape: tuple[int, ...]) -> None:
    a, b = numbers(*shape), numbers(*shape, seed=1)
    check(lambda a, b: (torch.tanh(a * 2 + b) * torch.sigmoid(a) - b, a > b), a, b, threads=2)


OPERATIONS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "softmax": (nn.Softmax(-1), (3, 7, 37)),
    "softmax over rows": (nn.Softmax(0), (9, 21)),
    "log softmax": (nn.LogSoftmax(1), (2, 11, 5)),
    "layer norm": (nn.LayerNorm(37), (5, 37)),
    "group norm": (nn.GroupNorm(3, 6), (2, 6, 5, 7)),
    "instance norm": (nn.InstanceNorm2d(3), (2, 3, 5, 7)),
    "sum of columns": (lambda x: x.sum(-1), (5, 83)),
    "sum of rows": (lambda x: x.sum(0), (83, 5)),
    "sum of all": (lambda x: x.sum(), (19, 23)),
    "mean of images": (lambda x: x.mean((2, 3)), (2, 3, 5, 7)),
    "largest": (lambda x: x.amax(-1), (4, 35)),
    "smallest": (lambda x: x.amin(0), (35, 4)),
    "product": (lambda x: (x / 2 + 1).prod(-1), (4, 19)),
    "variance": (lambda x: x.var(-1), (4, 35)),
    "norm": (lambda x: x.norm(dim=-1), (4, 35)),
    "any": (lambda x: (x > 2).any(-1), (4, 35)),
    "all": (lambda x: (x > -2).all(0), (35, 4)),
    "argmax": (lambda x: x.argmax(-1), (4, 35)),
    "max with place": (lambda x: x.max(1), (3, 35, 2)),
    "padding": (lambda x: F.pad(x, (1, 2, 3, 0)), (2, 3, 5, 7)),
    "reflection": (lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"), (2, 3, 5, 7)),
    "replication": (lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), (2, 3, 5, 7)),
    "wrapping": (lambda x: F.pad(x, (1, 7, 3, 0), mode="circular"), (2, 3, 5, 7)),
    "concatenations inside others": (
        lambda x: torch.cat([x[:, :1].repeat(2, 1), (y := torch.cat([x, x * 2])), y[:, 3:]], 1), (3, 5)),
    "samples of a grid": (
        lambda x: F.grid_sample(x, x[:, :2].movedim(1, -1), align_corners=False), (1, 3, 5, 7)),
    "rows added where others say": (
        lambda x: x.index_add(1, (x[0, :3, 0] > 0).long() + 2, 2 * x[:, :3], alpha=3), (2, 5, 21)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), (1, 3, 5, 7)),
    "bilinear aligned": (
        lambda x: F.interpolate(x, (9, 20), mode="bilinear", align_corners=True), (1, 3, 5, 7)),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic"), (1, 3, 5, 7)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=3.0), (1, 3, 5, 7)),
    "pixel shuffle": (nn.PixelShuffle(2), (1, 8, 3, 5)),
    "pixel unshuffle": (nn.PixelUnshuffle(2), (1, 2, 6, 10)),
    "concatenation": (lambda x: torch.cat([x, x * 2, x], 1), (2, 3, 5)),
    "concatenation of columns": (lambda x: torch.cat([x, x * 2], -1), (2, 3, 5)),
    "transpose": (lambda x: x.t().contiguous(), (19, 35)),
    "transpose and add": (lambda x: x.t() + 1, (35, 19)),
    "permutation": (lambda x: x.permute(0, 2, 3, 1).contiguous(), (2, 5, 3, 19)),
    "flip": (lambda x: x.flip(-1), (3, 21)),
    "every other": (lambda x: x[:, ::2] + 1, (3, 41)),
    "diagonal": (lambda x: torch.diagonal(x) * 2, (19, 19)),
    "running sum": (lambda x: x.cumsum(-1), (3, 35)),
    "running sum of rows": (lambda x: x.cumsum(0), (35, 3)),
    "largest few": (lambda x: x.topk(5, -1), (3, 35)),
    "sorting": (lambda x: x.sort(-1), (3, 35)),
    "to integers": (lambda x: (x * 100).to(torch.int64), (3, 21)),
    "double": (lambda x: (x.double() * 3).float(), (3, 21)),
    "bytes": (lambda x: (x * 20).to(torch.int8), (3, 21)),
    "one element": (lambda x: x.tanh() + x.sum(), (1, 1)),
    "depth to space in rows": (lambda x: x.view(2, 3, 4).transpose(0, 1).reshape(3, 8), (24,))}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name: str) -> None:
    function, shape = OPERATIONS[name]
    check(function, numbers(*shape))


@pytest.mark.slow
@pytest.mark.parametrize("shapes", [((2, 5, 7), (2, 7, 19)), ((1, 1, 1), (1, 1, 1)),
                                    ((3, 33, 20), (3, 20, 17))], ids=str)
def test_products_of_inputs(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (numbers(*shape, seed=seed) for seed, shape in enumerate(shapes))
    check(torch.matmul, a, b)
    check(lambda a, b: a @ b.transpose(-1, -2), a, b.transpose(-1, -2).contiguous())


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "inner", "columns"), [(49, 100, 77), (8, 8, 5), (29, 16, 64), (9, 8, 277)],
                         ids=str)
def test_products_are_packed(rows: int, inner: int, columns: int) -> None:
    a, b = numbers(rows, inner), numbers(inner, columns, seed=1)
    check(torch.mm, a, b, threads=2)
    check(lambda a, b: a @ b.t() + 1, a, b.t().contiguous())
    check(lambda a, b: torch.bmm(a.transpose(1, 2), b), numbers(3, inner, rows), numbers(3, inner, columns))
    many, others = numbers(17, rows, inner), numbers(17, columns, inner, seed=1)  # one by one, in scratch
    check(lambda a, b: a @ b.transpose(1, 2), many, others, threads=2)


def test_a_product_of_infinities_is_pytorchs() -> None:
    a, b = numbers(16, 16), numbers(16, 32, seed=1)
    a[3, 4], a[5, 6], b[4, 7], b[9, 20] = torch.inf, torch.nan, -torch.inf, torch.nan
    check(torch.mm, a, b)


@pytest.mark.slow
@pytest.mark.parametrize("function", [
    lambda x: x.var(1), lambda x: x.var((0, 1), correction=0), lambda x: torch.var_mean(x, 0, keepdim=True),
    lambda x: (x * 1e-3 + 100).std(1)])
def test_variances(function: Function) -> None:
    check(function, numbers(9, 37))


def test_a_variance_of_parts() -> None:
    check(lambda x: torch.var_mean(100 + x, (1, 2), keepdim=True), numbers(2, 3, 3000))


def test_a_variance_of_one_number_is_nan() -> None:
    check(lambda x: x.var(1), numbers(5, 1))


@pytest.mark.parametrize(("function", "shapes"), [
    (nn.Softmax(-1), [(64, 200)]), (nn.LogSoftmax(1), [(34, 50, 3)]), (nn.LayerNorm(130), [(3, 48, 130)]),
    (nn.GroupNorm(4, 8), [(16, 8, 10, 10)]), (nn.LayerNorm(5000), [(16, 5000)]),
    (lambda x: x.cumsum(0).softmax(1) + x, [(32, 70)]),
    (F.scaled_dot_product_attention, [(1, 4, 64, 32)] * 3),
    (lambda x, w: torch.relu(x @ w + 1).softmax(-1), [(48, 64), (64, 96)])], ids=range(8))
def test_what_is_computed_of_the_same_rows_runs_as_one(function: Function,
                                                       shapes: list[tuple[int, ...]]) -> None:
    check(function, *(numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)), threads=2)


def test_attention() -> None:
    q, k, v = (numbers(1, 2, 19, 24, seed=seed) for seed in range(3))
    check(F.scaled_dot_product_attention, q, k, v, threads=2)


def test_divisions_by_one_number_are_exact() -> None:
    by = torch.tensor([3.0, -41.0, 1e-40, 3e38, float("inf"), float("nan"), 0.0, -0.0, 2.0**63])[:, None]
    x = torch.cat([extremes(), torch.arange(100) * 41.0]).repeat(len(by), 1)
    found, sevenths = espalier.compile(Calls(lambda x, by: (x / by, x / -0.7)), (x, by))(x, by)
    for own, exact in ((found, x / by), (sevenths, x / -0.7)):
        torch.testing.assert_close(own, exact, rtol=0, atol=1e-45, equal_nan=True)
        assert torch.equal(torch.signbit(own[:, :2]), torch.signbit(exact[:, :2]))


def test_small_doubles_keep_their_digits() -> None:
    small = 10.0 ** torch.linspace(-300, -1, 41, dtype=torch.float64)
    x = torch.cat([small, -small, torch.tensor([0.0, -0.0, 40, -40, 800, -800, -1, -2, 1e300, torch.inf,
                                                -torch.inf, torch.nan], dtype=torch.float64)])

    def functions(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.log1p(x), torch.expm1(x), 0.1 - x, torch.rsub(x, 0.1, alpha=0.3), x.square(),
                x**7, x**-3)

    found = espalier.compile(Calls(functions), (x,))(x)
    for own, exact, factors in zip(found, functions(x), (1, 1, 1, 1, 1, 3, 3), strict=True):
        torch.testing.assert_close(own, exact, rtol=1e-15 * factors, atol=0, equal_nan=True)


@pytest.mark.slow
def test_look_up() -> None:
    table = nn.Embedding(11, 37)
    places = torch.tensor([[0, 10, 3], [5, 5, 9]])
    check(table, places)
    check(lambda x, at: torch.gather(x, 1, at), numbers(4, 9), torch.randint(0, 9, (4, 21)))
    check(lambda x, at: x.index_select(0, at), numbers(9, 21), torch.tensor([8, 0, 3]))


def test_a_look_up_outside_is_an_error() -> None:
    table = nn.Embedding(11, 37)
    compiled = espalier.compile(table, (torch.tensor([1, 2]),))
    with pytest.raises(espalier.EspalierError, match="index"):
        compiled.run([np.array([1, 11])])


@pytest.mark.slow
def test_nan_goes_through() -> None:
    x = numbers(4, 37)
    x[1, 5], x[2, 36] = float("nan"), float("inf")
    for function in (lambda x: x.amax(-1), lambda x: x.amin(0), lambda x: x.sum(-1), torch.tanh,
                     nn.Softmax(-1)):
        check(function, x)


def test_empty() -> None:
    check(lambda x: x * 2, numbers(0, 3))


@pytest.mark.parametrize(("shape", "order"), [
    ((33, 50), (1, 0)), ((16, 16), (1, 0)), ((5, 70), (1, 0)), ((3, 17, 40), (0, 2, 1)),
    ((2, 20, 3, 35), (0, 2, 3, 1)), ((1, 40, 5, 19), (3, 1, 0, 2))])
def test_transposes_go_through_tiles(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    check(lambda x: x.permute(order).contiguous(), numbers(*shape))


@pytest.mark.slow
def test_what_is_computed_on_a_transpose() -> None:
    check(lambda x, y, b: torch.relu(x.t() * 2 + y) - b, numbers(40, 33), numbers(33, 40, seed=1),
          numbers(33, 1, seed=2))
    check(lambda x: x.t().contiguous(), torch.arange(20 * 34, dtype=torch.int32).reshape(20, 34))
    check(lambda x: x.t().contiguous(), numbers(20, 34).double())


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "inner", "columns"), [
    (4, 3, 16), (7, 20, 50), (9, 33, 130), (1, 5, 40), (3, 4, 5)])
def test_rows_of_a_product_share_what_they_read(rows: int, inner: int, columns: int) -> None:
    check(torch.matmul, numbers(rows, inner), numbers(inner, columns, seed=1))
    check(torch.bmm, numbers(3, rows, inner), numbers(3, inner, columns, seed=1))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_places_of_extremes(dim: int) -> None:
    x = (numbers(7, 20, 33) * 2).round()
    x[::2, 3, ::5] = torch.nan
    check(lambda x: (x.argmax(dim), x.argmin(dim), *x.max(dim), *x.min(dim, keepdim=True)), x)


@pytest.mark.slow
def test_the_place_of_the_largest_of_all() -> None:
    check(lambda x: (x.argmax(), x.argmin(keepdim=True)), numbers(7, 20))
    check(lambda x: (x.argmax(), *x.max(1)), torch.tensor([[3, 1, 3], [4, 4, 0]]))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders(mode: str) -> None:
    check(lambda x: F.pad(x, (1, 2), mode=mode), numbers(2, 3, 9))
    check(lambda x: F.pad(x, (2, 1, 0, 3), mode=mode), numbers(1, 3, 9, 8))


def test_a_reduction_of_one_turn_reads_its_fill() -> None:
    """Each of the 7 x 7 means is over one pixel."""
    module, x = torch.nn.AdaptiveAvgPool2d(7).eval(), torch.randn(1, 8, 1, 1)
    assert torch.equal(espalier.compile(module, (x,))(x), module(x))
