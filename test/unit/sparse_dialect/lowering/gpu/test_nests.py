"""What networks have besides layers, on software devices against PyTorch: any linalg.generic, and moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from espalier.errors import EspalierError
from espalier.frontends.compile import import_any
from espalier.pipelines.driver import CompileOptions, compile_linalg
from espalier.pipelines.target import Target
from espalier.runtime.executors.vulkan import GpuProgram
from espalier.runtime.executors.vulkan_program import ACTIVATIONS, WEIGHTS, Program, Range, decode
from support.vulkan import check_spirv, lacking, on_each_device, validated
from torch import nn
from torch.nn import functional as F


class Function(nn.Module):
    """A function of tensors as a module, with modules that it calls first."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*self.parts, *inputs)


def gate(narrow: nn.Module, wide: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Squeeze and excite, as MobileNetV3 has it."""
    return x * F.hardsigmoid(wide(F.relu(narrow(F.adaptive_avg_pool2d(x, 1)))))


def unfolded(conv: nn.Module, norm: nn.Module, linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Patches of an image as a sequence and back, as MobileViT has them."""
    y = conv(x)
    batch, channels, height, width = y.shape
    y = y.reshape(batch * channels * height // 2, 2, width // 2, 2).transpose(1, 2)
    y = y.reshape(batch, channels, -1, 4).permute(0, 3, 2, 1)
    y = linear(norm(y)).permute(0, 3, 2, 1)
    y = y.reshape(batch * channels * height // 2, width // 2, 2, 2).transpose(1, 2)
    return torch.cat([x, y.reshape(batch, channels, height, width)], 1)


IMAGE, INDICES = (2, 3, 6, 7), torch.tensor([[0, 4, 2], [3, 3, 1]])
MASK = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
# A module, and its inputs or their shapes. What comes first is quick and stands for its kind.
CASES: dict[str, tuple[Callable[[], nn.Module], list[Any]]] = {
    "encoder": (lambda: nn.TransformerEncoderLayer(24, 3, 32, batch_first=True, activation="gelu"),
                [(2, 7, 24)]),
    "softmax of channels": (lambda: nn.Softmax(1), [(1, 4, 5, 5)]),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(2, 6)), [IMAGE]),
    "squeeze and excite": (lambda: Function(gate, nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)), [IMAGE]),
    "unfolded": (lambda: Function(unfolded, nn.Conv2d(3, 3, 3, padding=1), nn.LayerNorm(3), nn.Linear(3, 3)),
                 [(1, 3, 6, 8)]),
    "embedding": (lambda: Function(lambda table, gru, x: gru(table(x))[0], nn.Embedding(5, 8),
                                   nn.GRU(8, 12, batch_first=True)), [INDICES]),
    "embedding, fused": (lambda: Function(lambda table, x: 2 * table(x), nn.Embedding(5, 8)), [INDICES]),
    "bilinear": (lambda: Function(lambda conv, x: conv(F.interpolate(x, scale_factor=2, mode="bilinear")),
                                  nn.Conv2d(3, 2, 3, padding=1)), [(1, 3, 5, 7)]),
    "reflected": (lambda: nn.Sequential(nn.ReflectionPad2d((1, 2, 2, 1)), nn.Conv2d(3, 2, 3)), [IMAGE]),
    "largest and where": (lambda: Function(lambda x: (x.max(1)[0], x.argmax(1))), [(3, 6)]),
    # the others
    "softmax": (lambda: nn.Softmax(-1), [(3, 17)]),
    "logarithm of softmax": (lambda: nn.LogSoftmax(-1), [(3, 17)]),
    "layer norm": (lambda: nn.LayerNorm(24), [(2, 7, 24)]),
    "layer norm of images": (lambda: nn.LayerNorm([6, 7]), [IMAGE]),
    "instance norm": (lambda: nn.InstanceNorm2d(3), [IMAGE]),
    "mean of channels": (lambda: Function(lambda x: x.mean(1)), [IMAGE]),
    "mean of pixels": (lambda: Function(lambda x: x.mean((2, 3))), [IMAGE]),
    "sum": (lambda: Function(lambda x: x.sum()), [IMAGE]),
    "largest of a row": (lambda: Function(lambda x: x.amax(3)), [IMAGE]),
    "least of two axes": (lambda: Function(lambda x: x.amin((1, 2))), [IMAGE]),
    "product": (lambda: Function(lambda x: x.prod(1)), [(2, 6)]),
    "variance": (lambda: Function(lambda x: x.var(1)), [IMAGE]),
    "normalized": (lambda: Function(lambda x: F.normalize(x, dim=1)), [(2, 6, 5)]),
    "several after each other": (lambda: Function(lambda x: torch.cat([x * at for at in range(1, 10)], 2)),
                                 [(1, 2, 3, 4)]),
    "examples after each other": (lambda: Function(lambda conv, x: torch.cat([conv(x), x], 0),
                                                   nn.Conv2d(3, 3, 3, padding=1)), [IMAGE]),
    "token before": (lambda: Function(lambda table, x: torch.cat([table.weight.expand(2, 1, 5), x], 1),
                                      nn.Embedding(1, 5)), [(2, 4, 5)]),
    "padded": (lambda: nn.Sequential(nn.ConstantPad2d((1, 2, 3, 1), 2.0), nn.Conv2d(3, 2, 3)), [IMAGE]),
    "nearest": (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 3, padding=1)), [IMAGE]),
    "bilinear, corners": (lambda: nn.Upsample(size=(9, 8), mode="bilinear", align_corners=True),
                          [(1, 3, 4, 5)]),
    "last channels": (lambda: Function(lambda x: x.permute(0, 2, 3, 1)), [IMAGE]),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), [(1, 8, 3, 5)]),
    "every other": (lambda: Function(lambda x: x[:, :, 1::2, 1:4]), [IMAGE]),
    "one of a dimension": (lambda: Function(lambda x: x[:, 1]), [(2, 3, 6)]),
    "rolled": (lambda: Function(lambda x: torch.roll(x, (1, 2), (2, 3))), [IMAGE]),
    "backwards": (lambda: Function(lambda x: torch.flip(x, (2,))), [IMAGE]),
    "product of matrices": (lambda: Function(lambda x, y: x @ y), [(2, 3, 4, 5), (2, 3, 5, 6)]),
    "masked": (lambda: Function(lambda x: x.masked_fill(MASK, -1e9).softmax(-1)), [(2, 5, 5)]),
    "gathered": (lambda: Function(lambda x, at: x.gather(1, at)), [(2, 5), INDICES]),
    "selected": (lambda: Function(lambda x: x[:, torch.tensor([2, 0, 1])]), [IMAGE]),
    "integers": (lambda: Function(lambda x: (x > 0).sum(1)), [(2, 6)]),
    "conditions": (lambda: Function(lambda x: (x > 0, torch.where(x > 0, x, 3 * x))), [(2, 6)]),
    "conditions given": (lambda: Function(lambda x, m: torch.where(m, x, -x)), [(5, 5), MASK]),
    "gelu": (nn.GELU, [(2, 9)]),
    "powers": (lambda: Function(lambda x: (x.abs() + 0.1) ** 1.7 + x ** 3 + x ** -2), [(2, 9)]),
    "functions": (lambda: Function(lambda x: torch.log1p(x * x) + torch.expm1(x) + torch.round(3 * x)),
                  [(2, 9)]),
    "remainders": (lambda: Function(lambda x: torch.fmod(x, 0.7) + x % 0.6), [(2, 9)]),
    "transposed convolution": (lambda: nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), [(1, 4, 5, 6)]),
    "uneven pool": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), [(1, 4, 8, 8)]),
    "pool of pixels alone": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), [(1, 4, 9, 8)]),
    "single elements": (lambda: Function(lambda x: 2 * x + 1), [()]),
    "six dimensions": (lambda: Function(lambda x: 2 * x + 1), [(2, 1, 3, 2, 2, 2)]),
}
QUICK = list(CASES)[:10]
each_case = pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES])


def compiled(model: nn.Module, inputs: list[torch.Tensor], precision: str = "fp32") -> Program:
    file = compile_linalg(import_any(model.eval(), tuple(inputs)), CompileOptions(), Target.vulkan(precision))
    return decode(file.code, file.weights.tobytes())


@cache
def case(name: str, precision: str = "fp32") -> tuple[Program, list[np.ndarray], list[np.ndarray]]:
    """Program, inputs and PyTorch's outputs."""
    make, given = CASES[name]
    torch.manual_seed(0)
    model = make().eval()
    inputs = [one if isinstance(one, torch.Tensor) else torch.randn(one) for one in given]
    with torch.no_grad():
        expected = model(*inputs)
    outputs = list(expected) if isinstance(expected, tuple) else [expected]
    return (compiled(model, inputs, precision), [one.numpy() for one in inputs],
            [one.detach().numpy() for one in outputs])


def check(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    for raw, wanted in zip(found, expected, strict=True):
        values = raw.view(wanted.dtype).reshape(wanted.shape)
        if wanted.dtype == np.float32:
            assert np.abs(values - wanted).max() <= tolerance * np.abs(wanted).max()
        else:
            np.testing.assert_array_equal(values, wanted)


@on_each_device
@each_case
def test_cases(driver: str, name: str) -> None:
    program, inputs, expected = case(name)
    with validated(driver) as gpu, GpuProgram(gpu, program) as loaded:
        loaded.run([np.full_like(one, np.nan if one.dtype == np.float32 else 1) for one in inputs])
        first = loaded.run(inputs)
        second = loaded.run(inputs)
    assert [one.tobytes() for one in first] == [one.tobytes() for one in second]
    check(first, expected, 1e-4)


@pytest.mark.slow
@each_case
def test_cases_in_halves(name: str) -> None:
    if lacking("lavapipe"):
        pytest.skip(lacking("lavapipe"))
    program, inputs, expected = case(name, "fp16")
    with validated("lavapipe") as gpu, GpuProgram(gpu, program) as loaded:
        check(loaded.run(inputs), expected, 5e-3)


@each_case
def test_words_are_valid(name: str, tmp_path: Any) -> None:
    for kernel in case(name)[0].kernels:
        check_spirv(kernel.words, tmp_path)


@cache
def looked_up() -> Program:
    return compiled(Function(lambda table, x: 2 * table(x), nn.Embedding(5, 4)), [INDICES])


@on_each_device
@pytest.mark.parametrize("staging", [False, True], ids=["in place", "staged"])
def test_indices_beyond_a_table_are_errors(driver: str, staging: bool) -> None:
    """Of the run that has them alone; and 64 bits are not cut to others."""
    small, large = (f"the model stopped: index must be {bound}" for bound in (
        "larger or equal to 0", "smaller than dim size"))
    with validated(driver, staging=staging) as gpu, GpuProgram(gpu, looked_up()) as loaded:
        (right,) = loaded.run([INDICES.numpy()])
        for wrong, message in ((5, large), (-1, small), (1 << 32, large), (-(1 << 32), small)):
            given = INDICES.numpy().copy()
            given[1, 1] = wrong
            with pytest.raises(EspalierError, match=message):
                loaded.run([given])
            assert loaded.run([INDICES.numpy()])[0].tobytes() == right.tobytes()


@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_failures_that_are_no_word_of_activations() -> None:
    good = looked_up()
    assert good.failures is not None
    bad = {"failures have 8 bytes; expected 4": Range(ACTIVATIONS, 0, 8),
           "failures 0 is no aligned range of activations": Range(WEIGHTS, 0, 4)}
    with validated("lavapipe") as gpu:
        for message, place in bad.items():
            with pytest.raises(EspalierError, match=message):
                GpuProgram(gpu, replace(good, failures=place))
        unknown = replace(good, messages=good.messages[:0])
        with GpuProgram(gpu, unknown) as loaded, pytest.raises(EspalierError, match="an unknown assertion"):
            loaded.run([INDICES.numpy() - 1])


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: x.cumsum(1), "'tm_tensor.scan' expected a layer, .*; compile for a CPU"),
    (lambda x: x.topk(2)[0], "'tm_tensor.sort' expected a layer"),
    (lambda x: x.double() * 2, "expected inputs and outputs of f32, i32, i64 or i1, found tensor<2x6xf64>"),
])
def test_what_has_no_kernel_is_an_error(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        compiled(Function(function), [torch.randn(2, 6)])
