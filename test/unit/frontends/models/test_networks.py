"""Whole networks and odd modules, compiled: equal to PyTorch, and the same bits on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import espalier
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from espalier.frontends.models import NETWORKS, reference_model
from espalier.frontends.models.r2plus1d import SplitBlock
from espalier.frontends.models.s3d import InceptionBlock
from espalier.frontends.models.seeding import seed_weights
from espalier.frontends.pruning.project import prune_module
from torch import nn

PRUNE = "pattern:entries=4,patterns=8,connectivity=3.6,linear=8"
GROUPS, BLOCKS = "kgs:filters=8,channels=4", "bcr:rows=4,columns=16"
TOLERANCE = 1e-4  # max abs error over max abs output


def compare(module: nn.Module, *inputs: torch.Tensor, sparse: bool = True,
            tolerance: float = TOLERANCE) -> espalier.CompiledModel:
    """The compiled ``module``, once 1, 2 and 3 threads gave the same bits and PyTorch's numbers."""
    module = module.eval()
    compiled = espalier.compile(module, inputs, options=espalier.CompileOptions(sparse=sparse))
    with torch.no_grad():
        found = module(*inputs)
    expected = [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]
    arrays = [value.numpy() for value in inputs]
    first = compiled.run(arrays)
    assert len(first) == len(expected)
    for got, want in zip(first, expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        scale = np.abs(want.astype(np.float64)).max(initial=0.0)
        assert np.abs(got.astype(np.float64) - want).max(initial=0.0) <= tolerance * scale
    for threads in (2, 3):
        for got, want in zip(compiled.run(arrays, threads), first, strict=True):
            np.testing.assert_array_equal(got, want)
    return compiled


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- networks -----------------------------------------------------------------------------------

SMALL = [("resnet18", PRUNE, True), pytest.param("resnet18", None, False, marks=pytest.mark.slow),
         pytest.param("mobilenet_v2", PRUNE, True, marks=pytest.mark.slow)]
SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {  # by the rank of the network's own input
    3: ((100, 1, 153), (7, 3, 153)), 4: ((1, 3, 227, 181), (2, 3, 96, 128)),
    5: ((1, 3, 9, 107, 77), (2, 3, 8, 64, 48))}
FIXED = {"c3d": ((2, 3, 16, 112, 112),)}  # its linear layers fit one size of clip
WHOLE = [(network, prune, prune is not None, seed, shape)
         for network, known in NETWORKS.items() for prune in (PRUNE, None)
         for seed, shape in enumerate(FIXED.get(network, SHAPES[len(known.shape)]), start=1)]
# RT3D's and GRIM's networks: how they are pruned, the scheme that is meant, and layers that run sparse in it
SHARED = [("c3d", f"{GROUPS},rate=3.6", "kgs", 7),
          ("r2plus1d_18", f"{GROUPS},rate=3.2", "kgs", 34),
          ("s3d", f"{GROUPS},rate=2.1", "kgs", 70), ("resnet50", f"{BLOCKS},rate=4", "bcr", 53),
          ("resnet50", f"{BLOCKS},rate=4,layers=pointwise+{PRUNE}", "bcr", 30),
          ("vgg16", f"{BLOCKS},rate=10,layers=matrices+{PRUNE}", "bcr", 3),
          ("gru", f"{BLOCKS},rate=10", "bcr", 4), ("lstm", f"{BLOCKS},rate=20", "bcr", 4)]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "prune", "sparse"), SMALL)
def test_small_images(network: str, prune: str | None, sparse: bool) -> None:
    module, _ = reference_model(network, prune, 3)
    compiled = compare(module, image(1, 3, 64, 48), sparse=sparse)
    assert {layer.kernel for layer in compiled.layers} == ({"sparse", "dense"} if sparse else {"dense"})


BLOCKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "r2plus1d": (SplitBlock(8, 16, 2, nn.Sequential(nn.Conv3d(8, 16, 1, 2), nn.BatchNorm3d(16))),
                 (2, 8, 5, 21, 14)),
    "s3d": (nn.Sequential(nn.Conv3d(3, 12, 1), InceptionBlock(12, 8, 6, 10, 3, 5, 7), nn.MaxPool3d(3, 2, 1)),
            (1, 3, 5, 13, 10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("prune", ["connectivity:rate=2", None])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_video_networks(name: str, prune: str | None) -> None:
    block, shape = BLOCKS[name]
    seed_weights(block, 1)
    if prune:
        prune_module(block, prune)
    compiled = compare(block, image(*shape), sparse=prune is not None)
    assert {layer.kernel for layer in compiled.layers} >= {"sparse" if prune else "dense"}


@pytest.mark.slow
def test_concatenated_channels_are_not_copied() -> None:
    """Every statement is a kernel: nine layers in their tile shapes; the result is unlifted in place."""
    block, shape = BLOCKS["s3d"]
    x = image(*shape)
    compiled = espalier.compile(block, (x,))
    labels = {label for label, _ in compiled.timeline([x.numpy()])}
    others = labels - {layer.name for layer in compiled.layers}
    assert {"1.branch3.0", "waiting"} <= others
    assert not any("cat" in label or "copy" in label for label in others)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "prune", "sparse", "seed", "shape"), WHOLE)
def test_odd_sizes_and_batches(network: str, prune: str | None, sparse: bool, seed: int,
                               shape: tuple[int, ...]) -> None:
    module, _ = reference_model(network, prune, seed)
    compare(module, image(*shape, seed=seed), sparse=sparse)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "prune", "scheme", "layers"), SHARED)
def test_blocks_and_kgs(network: str, prune: str, scheme: str, layers: int) -> None:
    shape = FIXED.get(network, SHAPES[len(NETWORKS[network].shape)])[-1]
    module, _ = reference_model(network, prune, 5)
    compiled = compare(module, image(*shape))
    assert sum(layer.scheme == scheme and layer.kernel == "sparse" for layer in compiled.layers) >= layers


@pytest.mark.slow
def test_without_eliminating_loads_results_are_the_same_bits() -> None:
    module, _ = reference_model("resnet18", PRUNE)
    x = image(1, 3, 64, 48)
    plain = espalier.compile(module, (x,), options=espalier.CompileOptions(eliminate_redundant_loads=False))
    np.testing.assert_array_equal(plain(x.numpy()), espalier.compile(module, (x,))(x.numpy()))


# -- anything else that linalg can say ----------------------------------------------------------


class Model(nn.Module):
    """``function(*parts, *inputs)``."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*self.parts, *inputs)


def conv(*arguments: Any, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(*arguments, **{"padding": 1, **options})


def excite(body: nn.Module, down: nn.Module, up: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = body(x)
    return y * torch.sigmoid(up(F.relu(down(F.adaptive_avg_pool2d(y, 1)))))


def conv3d(channels: int, filters: int) -> nn.Conv3d:
    return nn.Conv3d(channels, filters, 3, padding=1)


def norm3d(channels: int) -> nn.BatchNorm3d:
    norm = nn.BatchNorm3d(channels)
    norm.running_mean, norm.running_var = image(channels), image(channels, seed=1).abs() + 0.5
    return norm


X = image(1, 3, 9, 11)
VIDEO = image(1, 3, 5, 9, 11)
MODULES: dict[str, tuple[nn.Module, Sequence[torch.Tensor]]] = {
    # convolutions
    "conv 1-D": (nn.Conv1d(3, 5, 3, padding=1), [image(2, 3, 17)]),
    "conv 1-D, grouped": (nn.Conv1d(4, 6, 3, groups=2), [image(2, 4, 17)]),
    "conv 1-D, chain": (nn.Sequential(nn.Conv1d(3, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
                                      nn.Conv1d(8, 4, 3, padding=1, groups=2), nn.AdaptiveAvgPool1d(1)),
                        [image(2, 3, 41)]),
    "conv 3-D": (nn.Conv3d(3, 5, 3, padding=1, stride=2), [image(1, 3, 7, 9, 11)]),
    "conv 3-D, grouped": (nn.Conv3d(4, 6, 3, groups=2, padding=1), [image(2, 4, 5, 9, 11)]),
    "conv 3-D, uneven": (nn.Conv3d(3, 5, (3, 1, 5), (1, 2, 1), (2, 0, 3), (2, 1, 1)), [VIDEO]),
    "conv 3-D, one frame": (nn.Conv3d(3, 5, 3, padding=1), [image(1, 3, 1, 9, 11)]),
    "conv 3-D, residual": (
        Model(lambda a, b, x: F.relu(b(F.relu(a(x))) + x), conv3d(3, 8), conv3d(8, 3)), [VIDEO]),
    "conv 3-D, norm, concat": (
        Model(lambda a, b, x: torch.cat([F.relu(a(x)), b(x), x], 1), nn.Sequential(conv3d(3, 8), norm3d(8)),
              conv3d(3, 5)), [VIDEO]),
    "conv 3-D, silu": (nn.Sequential(conv3d(3, 8), nn.SiLU(), conv3d(8, 3)), [VIDEO]),
    "max pools 3-D": (
        nn.Sequential(conv3d(3, 8), nn.MaxPool3d((1, 2, 2)), conv3d(8, 8), nn.MaxPool3d(2, padding=(0, 1, 1)),
                      nn.MaxPool3d(3, 1, 1)), [image(2, 3, 4, 20, 24)]),
    "average pools 3-D": (
        nn.Sequential(conv3d(3, 8), nn.AvgPool3d(2, padding=1), conv3d(8, 8), nn.AvgPool3d((2, 3, 3), 1),
                      nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)), [VIDEO]),
    "mean of volumes": (Model(lambda a, x: a(x).mean((2, 3, 4)), conv3d(3, 8)), [VIDEO]),
    "conv, grouped": (conv(8, 12, 3, groups=4), [image(1, 8, 13, 9)]),
    "conv, depthwise, two filters a channel": (conv(4, 8, 3, groups=4), [image(1, 4, 13, 9)]),
    "conv, dilated": (conv(3, 5, 3, padding=2, dilation=2), [X]),
    "conv, uneven": (conv(3, 5, (3, 5), padding=(0, 2), stride=(2, 1)), [X]),
    "conv, patches": (conv(3, 32, 16, stride=16, padding=0), [image(1, 3, 64, 48)]),
    "conv, transposed": (nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), [X]),
    "conv, one pixel": (conv(3, 5, 1, padding=0), [image(1, 3, 1, 1)]),
    "conv, no batch": (conv(3, 5, 3), [image(3, 9, 9)]),
    "conv, weight at run time": (Model(lambda x, w: F.conv2d(x, w)), [X, image(4, 3, 3, 3)]),
    "conv, f64": (conv(3, 5, 3).double(), [X.double()]),
    # between layers
    "silu": (nn.Sequential(conv(3, 8, 3), nn.SiLU(), conv(8, 4, 1, padding=0)), [X]),
    "gelu": (nn.Sequential(conv(3, 8, 3), nn.GELU(), nn.Tanh()), [X]),
    "hardswish": (nn.Sequential(conv(3, 8, 3), nn.Hardswish(), conv(8, 8, 3)), [X]),
    "prelu": (nn.Sequential(conv(3, 8, 3), nn.PReLU(8), conv(8, 8, 3)), [X]),
    "softmax": (nn.Sequential(nn.Linear(7, 9), nn.Softmax(-1)), [image(2, 7)]),
    "layer norm": (nn.Sequential(nn.Linear(7, 9), nn.LayerNorm(9)), [image(2, 5, 7)]),
    "group and instance norm": (nn.Sequential(conv(3, 8, 3), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8)), [X]),
    "concat": (Model(lambda a, b, x: torch.cat([a(x), b(x), x], 1), conv(3, 8, 3), conv(3, 5, 3)), [X]),
    "upsample": (nn.Sequential(conv(3, 8, 3), nn.Upsample(scale_factor=2), conv(8, 4, 3)), [X]),
    "bilinear": (nn.Sequential(conv(3, 8, 3), nn.Upsample(scale_factor=2, mode="bilinear")), [X]),
    "pixel shuffle": (nn.Sequential(conv(3, 8, 3), nn.PixelShuffle(2), conv(2, 3, 3)), [X]),
    "coordinates": (Model(lambda a, x: a(x) + torch.arange(11.0), conv(3, 8, 3)), [X]),
    "squeeze and excite": (Model(excite, conv(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)), [X]),
    "mean": (Model(lambda a, x: a(x).mean((2, 3)), conv(3, 8, 3)), [X]),
    "padding with a number": (nn.Sequential(nn.ConstantPad2d((1, 2, 0, 1), 0.5), conv(3, 8, 3)), [X]),
    "padding by reflection": (nn.Sequential(nn.ReflectionPad2d(1), conv(3, 8, 3)), [X]),
    # pools
    "max pool, ceil": (nn.Sequential(conv(3, 8, 3), nn.MaxPool2d(3, 2, ceil_mode=True), conv(8, 3, 1)), [X]),
    "average pool, padded": (nn.Sequential(conv(3, 8, 3), nn.AvgPool2d(3, 2, padding=1)), [X]),
    "average of a corner": (nn.Sequential(conv(3, 8, 3), nn.AvgPool2d(3, 4)), [image(1, 3, 4, 4)]),
    "mean of planes": (nn.AdaptiveAvgPool2d(1), [X]),
    "maximum of planes": (nn.AdaptiveMaxPool2d(1), [image(1, 3, 30, 30)]),
    # attention and recurrence
    "transformer": (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), [image(2, 5, 16)]),
    "gru": (Model(lambda a, x: a(x)[0], nn.GRU(5, 6, batch_first=True)), [image(2, 4, 5)]),
    "matrix product at run time": (Model(lambda x, y: x @ y), [image(2, 5, 6), image(2, 6, 7)]),
    # scans, sorts, integers
    "cumulative sum": (Model(lambda x: x.cumsum(1)), [image(2, 5)]),
    "sort": (Model(lambda x: x.sort(1).values), [image(2, 5)]),
    "scatter": (Model(lambda x, i: torch.zeros(2, 5).scatter(1, i, x)),
                [image(2, 3), torch.tensor([[0, 2, 4], [1, 2, 3]])]),
    "embedding": (nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 3)), [torch.tensor([[0, 10, 3]])]),
    "integers": (Model(lambda x: x % 3 + 1), [torch.arange(6).view(2, 3)]),
    "booleans": (Model(lambda x: x > 0), [image(2, 3)]),
    # inputs and outputs
    "two inputs, two outputs": (Model(lambda a, x, y: (a(x) + y, a(y)), conv(3, 3, 3)), [X, X + 1]),
    "unused input": (Model(lambda a, x, y: a(x), conv(3, 3, 3)), [X, image(3)]),
    "output is input": (nn.Identity(), [X]),
    "output and input": (Model(lambda a, x: (x, a(x)), nn.Linear(3, 4)), [image(2, 3)]),
    "one output twice": (Model(lambda a, x: (a(x),) * 2, nn.Linear(3, 4)), [image(2, 3)]),
    "two views of one output": (Model(lambda a, x: (y := a(x), y.view(-1)), nn.Linear(3, 4)), [image(2, 3)]),
    "constant output": (Model(lambda x: (x + 1, torch.ones(3))), [image(2, 3)]),
    "scalar output": (Model(lambda a, x: a(x).mean(), conv(3, 8, 3)), [X]),
    "scalar input": (Model(lambda x: x * 2), [torch.tensor(3.0)]),
    "no elements": (nn.Linear(3, 2), [torch.empty(0, 3)]),
    "unsqueeze": (Model(lambda a, x: a(x).unsqueeze(0).unsqueeze(-1), nn.Linear(7, 4)), [image(2, 7)]),
    "no layers": (nn.ReLU(), [image(2, 16, 30, 30)]),
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    module, inputs = MODULES[name]
    compare(module, *inputs)


INPUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rows": lambda x: x[0], "batches of rows": lambda x: x, "one row": lambda x: x[0, 0],
    "four dimensions": lambda x: x.unsqueeze(1), "transposed": lambda x: x.reshape(5, 3, 8).transpose(0, 1),
    "every second": lambda x: x.reshape(3, 5, 4, 2)[..., 0], "broadcast": lambda x: x[:1].expand(3, 5, 8)}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_one_whatever_its_input(name: str, bias: bool) -> None:
    layer = nn.Linear(4 if name == "every second" else 8, 6, bias)
    compiled = compare(Model(lambda layer, x: layer(INPUTS[name](x)), layer), image(3, 5, 8))
    assert [record.op for record in compiled.layers] == ["linear"]


def test_half_precision() -> None:
    compare(conv(3, 5, 3).half(), X.half(), tolerance=1e-2)


def test_weights_without_any_nonzero() -> None:
    layer = conv(3, 5, 3)
    nn.init.zeros_(layer.weight)
    compare(layer, X)


@pytest.mark.parametrize("keep", [0.02, 0.1, 0.5])
def test_any_mask(keep: float) -> None:
    """Weights cut at random have no structure to speak of; results must not depend on it."""
    body = nn.Sequential(conv(16, 16, 3), nn.ReLU(), conv(16, 24, 1, padding=0), nn.Flatten(),
                         nn.Linear(24 * 99, 10))
    random = torch.Generator().manual_seed(1)
    for part in body:
        if hasattr(part, "weight"):
            part.weight.data *= torch.rand(part.weight.shape, generator=random) < keep
    compiled = compare(body, image(1, 16, 9, 11))
    assert not {layer.scheme for layer in compiled.layers} & {"pattern", "dense"}


# -- programs that PyTorch would not write ------------------------------------------------------

PROGRAMS = {
    "elementwise arith": ("""func.func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
        %y = arith.addf %x, %x : tensor<2x3xf32>
        return %y : tensor<2x3xf32> }""", [2.0]),
    "a helper function": ("""func.func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
        %y = call @g(%x) : (tensor<2x3xf32>) -> tensor<2x3xf32>
        return %y : tensor<2x3xf32> }
        func.func private @g(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
        %y = arith.addf %x, %x : tensor<2x3xf32>
        return %y : tensor<2x3xf32> }""", [2.0]),
    "a branch": ("""func.func @f(%x: tensor<2x3xf32>, %c: tensor<i1>) -> tensor<2x3xf32> {
        %b = tensor.extract %c[] : tensor<i1>
        %y = scf.if %b -> tensor<2x3xf32> {
          %z = arith.addf %x, %x : tensor<2x3xf32>
          scf.yield %z : tensor<2x3xf32>
        } else {
          scf.yield %x : tensor<2x3xf32>
        }
        return %y : tensor<2x3xf32> }""", [2.0, 1.0]),
    "a branch that chooses a buffer": ("""#same = affine_map<(i, j) -> (i, j)>
        func.func @f(%x: tensor<2x3xf32>, %c: tensor<i1>) -> tensor<2x3xf32> {
        %b = tensor.extract %c[] : tensor<i1>
        %two = arith.addf %x, %x : tensor<2x3xf32>
        %y = scf.if %b -> tensor<2x3xf32> {
          scf.yield %two : tensor<2x3xf32>
        } else {
          %z = arith.negf %x : tensor<2x3xf32>
          scf.yield %z : tensor<2x3xf32>
        }
        %other = arith.mulf %x, %x : tensor<2x3xf32>
        %zero = arith.subf %other, %other : tensor<2x3xf32>
        %new = tensor.empty() : tensor<2x3xf32>
        %sum = linalg.generic {indexing_maps = [affine_map<(i, j) -> (1 - i, j)>, #same, #same],
            iterator_types = ["parallel", "parallel"]}
            ins(%zero, %y : tensor<2x3xf32>, tensor<2x3xf32>) outs(%new : tensor<2x3xf32>) {
        ^bb0(%l: f32, %r: f32, %o: f32):
          %s = arith.addf %l, %r : f32
          linalg.yield %s : f32
        } -> tensor<2x3xf32>
        return %sum : tensor<2x3xf32> }""", [2.0, -1.0]),
    "a loop": ("""func.func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c3 = arith.constant 3 : index
        %y = scf.for %i = %c0 to %c3 step %c1 iter_args(%t = %x) -> tensor<2x3xf32> {
          %z = arith.addf %t, %t : tensor<2x3xf32>
          scf.yield %z : tensor<2x3xf32>
        }
        return %y : tensor<2x3xf32> }""", [8.0]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, tmp_path: Path) -> None:
    text, factors = PROGRAMS[name]
    (tmp_path / "program.mlir").write_text(text)
    compiled = espalier.compile(tmp_path / "program.mlir")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = x.copy()
    for factor in factors:
        conditions = [np.array(factor == factors[0])] * (len(compiled.inputs) - 1)
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(compiled.run([x, *conditions], threads)[0], factor * before)
    np.testing.assert_array_equal(x, before)  # inputs are the caller's


@pytest.mark.parametrize("threads", [1, 2])
def test_index_out_of_range_is_an_error_and_no_crash(threads: int) -> None:
    table = nn.Embedding(5, 3)
    compiled = espalier.compile(table, (torch.tensor([0, 1]),))
    with pytest.raises(espalier.EspalierError, match="index must be smaller than dim size"):
        compiled.run([np.array([1, 99])], threads)
    with pytest.raises(espalier.EspalierError, match="index must be larger or equal to 0"):
        compiled.run([np.array([-7, 1])], threads)
    np.testing.assert_array_equal(compiled.run([np.array([4, 1])], threads)[0],
                                  table.weight.detach().numpy()[[4, 1]])
