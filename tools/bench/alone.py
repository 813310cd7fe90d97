"""Single operations against PyTorch eager: what no layer absorbs, each as a program of its own.

A case's numbers come from its name, so that any of them can be run again. Nothing here prints.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from ...errors import optional
from .measure import interleave

FEWEST_RUNS, MOST_RUNS = 15, 400
TWICE = ("topk", "sort")  # of these 2x PyTorch's time is good; of all others its time
NOISE = 0.05  # what two runs of the same code differ by


@dataclass(frozen=True)
class Sizes:
    """Shapes of the inputs: ``image`` [N, C, H, W], ``rows`` [rows, columns], ``heads`` [N, heads, tokens,
    features], ``square`` matrices [M, K] and [K, N], ``stack`` of matrices [B, M, K] and [B, K, N]."""

    image: tuple[int, int, int, int]
    rows: tuple[int, int]
    heads: tuple[int, int, int, int]
    square: tuple[int, int, int]
    stack: tuple[int, int, int, int]


SIZES = {
    "million": Sizes((1, 64, 128, 128), (1024, 1024), (1, 16, 1024, 64), (1024, 1024, 1024),
                     (64, 128, 128, 128)),
    "small": Sizes((1, 32, 56, 56), (128, 784), (1, 4, 196, 64), (196, 256, 256), (4, 196, 64, 196)),
    "odd": Sizes((8, 36, 7, 7), (100, 197), (1, 3, 49, 20), (49, 100, 77), (3, 49, 20, 49)),
}


@dataclass(frozen=True)
class Case:
    """One operation: a function of tensors, and what makes its inputs from sizes."""

    name: str
    function: Callable[..., Any]
    inputs: Callable[[Sizes], tuple[Any, ...]] = field(repr=False)

    def drawn(self, sizes: Sizes) -> tuple[Any, ...]:
        """Its inputs: numbers that only the name decides."""
        optional("torch", "single operations").manual_seed(zlib.crc32(self.name.encode()))
        return self.inputs(sizes)

    @property
    def bar(self) -> float:
        """How many times PyTorch's time it may take."""
        return 2.0 if self.name.split()[0] in TWICE else 1.0

    def module(self) -> Any:
        """The operation as a PyTorch module."""
        torch = optional("torch", "single operations")

        class Alone(torch.nn.Module):  # type: ignore[name-defined]
            def forward(self, *tensors: Any) -> Any:
                return function(*tensors)

        function = self.function
        return Alone().eval()


@dataclass(frozen=True)
class Timed:
    """Seconds of a case in every round."""

    case: Case
    ours: list[float]
    theirs: list[float]

    def ratio(self, of: Callable[[list[float]], float] = min) -> float:
        """PyTorch's time over ours: above 1, ours is faster."""
        return of(self.theirs) / of(self.ours)

    @property
    def meets(self) -> bool:
        """Whether it is fast enough, by minimum and by median."""
        return max(self.ratio(), self.ratio(median)) * self.case.bar >= 1 - NOISE

    def __str__(self) -> str:
        ours, theirs = ([1e3 * of(times) for of in (min, median)] for times in (self.ours, self.theirs))
        mark = "" if self.meets else "  slower"
        return (f"{self.case.name:24} {ours[0]:8.3f} {ours[1]:8.3f} {theirs[0]:8.3f} {theirs[1]:8.3f} "
                f"{self.ratio():6.2f} {self.ratio(median):6.2f}{mark}")


HEAD = f"{'operation':24} {'ours':>8} {'median':>8} {'PyTorch':>8} {'median':>8} {'ratio':>6} {'median':>6}"


def timed(case: Case, compiled: Any, inputs: tuple[Any, ...], seconds: float) -> Timed:
    """Times ``compiled`` and PyTorch, interleaved, for about ``seconds``; one thread, calls on tensors."""
    torch = optional("torch", "single operations")
    torch.set_num_threads(1)
    with torch.inference_mode():
        tasks: list[Callable[[], object]] = [partial(compiled, *inputs), partial(case.function, *inputs)]
        once = [min(times) for times in interleave(tasks, 5)]
        runs = int(min(max(seconds / sum(once), FEWEST_RUNS), MOST_RUNS))
        return Timed(case, *interleave(tasks, runs))


def difference(case: Case, compiled: Any, inputs: tuple[Any, ...]) -> float:
    """The largest difference from PyTorch, as a share of the largest number; equal numbers sort stably."""
    torch = optional("torch", "single operations")
    from torch.utils._pytree import tree_leaves

    from ...frontends.torch.stable_order import StableOrder

    worst = 0.0
    with torch.inference_mode(), StableOrder():
        expected = case.function(*inputs)
    pairs = zip(tree_leaves(compiled(*inputs)), tree_leaves(expected), strict=True)
    for ours, theirs in pairs:
        scale = float(theirs.double().abs().max()) or 1.0
        worst = max(worst, float((ours.double() - theirs.double()).abs().max()) / scale)
    return worst


def cases() -> Iterator[Case]:
    """Every operation that is measured, in the order of the table."""
    torch = optional("torch", "single operations")
    f = torch.nn.functional

    def image(sizes: Sizes) -> tuple[Any, ...]:
        return (torch.randn(sizes.image),)

    def images(sizes: Sizes) -> tuple[Any, ...]:
        return torch.randn(sizes.image), torch.randn(sizes.image)

    def rows(sizes: Sizes) -> tuple[Any, ...]:
        return (torch.randn(sizes.rows),)

    def on(inputs: Any, **functions: Any) -> Iterator[Case]:
        for name, function in functions.items():
            yield Case(name.replace("_", " "), function, inputs)

    yield from on(image, chain=lambda x: (x * 2 + 1).clamp(-1, 3) * x.abs() - 0.5, tanh=torch.tanh,
                  gelu=f.gelu, gelu_tanh=lambda x: f.gelu(x, approximate="tanh"),
                  leaky_relu=lambda x: f.leaky_relu(x, 0.1), mish=f.mish, silu=f.silu, softplus=f.softplus,
                  sigmoid=torch.sigmoid, hardswish=f.hardswish, elu=f.elu, exp=torch.exp)
    yield Case("prelu", f.prelu, lambda s: (torch.randn(s.image), torch.rand(s.image[1])))
    yield from on(images, add=torch.add, where=lambda x, y: torch.where(x > y, x, y),
                  cat_channels=lambda x, y: torch.cat((x, y), 1),
                  cat_last=lambda x, y: torch.cat((x, y), -1),
                  stack_first=lambda x, y: torch.stack((x, y)),
                  stack_last=lambda x, y: torch.stack((x, y), -1))
    yield from _norms(torch, f, on, image, rows)
    yield from _reductions(torch, on, image, rows)
    yield from _moves(torch, f, on, image, rows)
    yield from _lookups(torch, f, rows)
    yield from _products(torch, f)


def _norms(torch: Any, f: Any, on: Any, image: Any, rows: Any) -> Iterator[Case]:
    def with_channels(function: Any) -> Any:
        return lambda x, weight, bias: function(x, weight, bias)

    def affine(s: Sizes) -> tuple[Any, ...]:
        return torch.randn(s.image), torch.rand(s.image[1]), torch.randn(s.image[1])

    yield from on(rows, softmax=lambda x: x.softmax(-1), log_softmax=lambda x: x.log_softmax(-1),
                  softmax_columns=lambda x: x.softmax(0), layer_norm=lambda x: f.layer_norm(x, x.shape[1:]),
                  logsumexp=lambda x: x.logsumexp(-1))
    yield Case("layer norm affine", lambda x, w, b: f.layer_norm(x, x.shape[1:], w, b),
               lambda s: (torch.randn(s.rows), torch.rand(s.rows[1]), torch.randn(s.rows[1])))
    yield from on(image, layer_norm_last=lambda x: f.layer_norm(x, x.shape[-1:]),
                  softmax_channels=lambda x: x.softmax(1), instance_norm=f.instance_norm)
    yield Case("group norm", with_channels(lambda x, w, b: f.group_norm(x, 4, w, b)), affine)


def _reductions(torch: Any, on: Any, image: Any, rows: Any) -> Iterator[Case]:
    for axis, name in ((1, "rows"), (0, "columns")):
        yield from on(rows, **{f"{kind}_{name}": partial(getattr(torch, kind), dim=axis)
                               for kind in ("sum", "mean", "amax", "argmax", "var", "cumsum")})
    yield from on(rows, max_rows=lambda x: x.max(1), sum_all=torch.sum, max_all=torch.max,
                  topk=lambda x: x.topk(5), sort=torch.sort, argsort=torch.argsort)
    yield from on(image, mean_image=lambda x: x.mean((2, 3)), mean_channels=lambda x: x.mean(1))
    yield Case("topk one row", lambda x: x.topk(5), lambda s: (torch.randn(1, s.rows[0] * s.rows[1]),))
    yield Case("sort one row", torch.sort, lambda s: (torch.randn(s.rows[0] * s.rows[1]),))


def _moves(torch: Any, f: Any, on: Any, image: Any, rows: Any) -> Iterator[Case]:
    def resized(mode: str, scale: float = 2) -> Any:
        return lambda x: f.interpolate(x, scale_factor=scale, mode=mode)

    def padded(mode: str) -> Any:
        return lambda x: f.pad(x, (1, 1, 1, 1), mode=mode)

    yield from on(image, pad_constant=padded("constant"), pad_reflect=padded("reflect"),
                  pad_replicate=padded("replicate"), pad_circular=padded("circular"),
                  bilinear=resized("bilinear"), bicubic=resized("bicubic"), nearest=resized("nearest"),
                  bilinear_1_5=resized("bilinear", 1.5), bilinear_half=resized("bilinear", 0.5),
                  channel_shuffle=lambda x: f.channel_shuffle(x, 4), flip_last=lambda x: x.flip(-1),
                  flip_rows=lambda x: x.flip(-2), roll_last=lambda x: x.roll(3, -1),
                  roll_rows=lambda x: x.roll(3, -2),
                  channels_last=lambda x: x.permute(0, 2, 3, 1).contiguous(),
                  unfold=lambda x: f.unfold(x, 3, padding=1), max_pool=lambda x: f.max_pool2d(x, 2),
                  max_pool_3x3=lambda x: f.max_pool2d(x, 3, 2, 1), avg_pool=lambda x: f.avg_pool2d(x, 2),
                  avg_pool_3x3=lambda x: f.avg_pool2d(x, 3, 1, 1),
                  adaptive_pool=lambda x: f.adaptive_avg_pool2d(x, 1))
    yield from on(rows, transpose=lambda x: x.t().contiguous(), roll_columns=lambda x: x.roll(5, 1))
    yield Case("pixel shuffle", lambda x: f.pixel_shuffle(x, 2), image)
    yield Case("pixel unshuffle", lambda x: f.pixel_unshuffle(x, 2),
               lambda s: (torch.randn(*s.image[:2], s.image[2] // 2 * 2, s.image[3] // 2 * 2),))
    yield Case("permute heads", lambda x: x.permute(0, 2, 1, 3).contiguous(),
               lambda s: (torch.randn(s.heads),))
    yield Case("fold", lambda x: f.fold(x, (64, 64), 3, padding=1),
               lambda s: (torch.randn(1, 9 * s.image[1] // 2, 64 * 64),))


def _lookups(torch: Any, f: Any, rows: Any) -> Iterator[Case]:
    def places(s: Sizes, *shape: int, below: int) -> Any:
        return torch.randint(below, shape)

    yield Case("gather", lambda x, at: x.gather(1, at),
               lambda s: (torch.randn(s.rows), places(s, *s.rows, below=s.rows[1])))
    yield Case("embedding", lambda at, table: f.embedding(at, table),
               lambda s: (places(s, s.rows[0] * 4, below=s.rows[0]), torch.randn(s.rows[0], s.rows[1] // 4)))
    yield Case("index select rows", lambda x, at: x.index_select(0, at),
               lambda s: (torch.randn(s.rows), places(s, s.rows[0], below=s.rows[0])))
    yield Case("index select columns", lambda x, at: x.index_select(1, at),
               lambda s: (torch.randn(s.rows), places(s, s.rows[1], below=s.rows[1])))


def _products(torch: Any, f: Any) -> Iterator[Case]:
    def heads(s: Sizes) -> tuple[Any, ...]:
        return torch.randn(s.heads), torch.randn(s.heads), torch.randn(s.heads)

    yield Case("attention", f.scaled_dot_product_attention, heads)
    yield Case("mm", torch.mm, lambda s: (torch.randn(s.square[:2]), torch.randn(s.square[1:])))
    yield Case("mm transposed", lambda x, y: x @ y.t(),
               lambda s: (torch.randn(s.square[:2]), torch.randn(s.square[2], s.square[1])))
    yield Case("mm 256", torch.mm, lambda s: (torch.randn(256, 256), torch.randn(256, 256)))
    yield Case("bmm", torch.bmm, lambda s: (torch.randn(s.stack[:3]),
                                            torch.randn(s.stack[0], s.stack[2], s.stack[3])))
    yield Case("bmm transposed", lambda x, y: x @ y.transpose(1, 2),
               lambda s: (torch.randn(s.stack[:3]), torch.randn(s.stack[0], s.stack[3], s.stack[2])))
