"""What to prune, as text: ``pattern:entries=4,patterns=8,connectivity=3.6,linear=8``.

One frozen dataclass a kind; its fields are the keys of the text, and ``str`` prints the text back. Kinds may
be joined: of ``bcr:rate=4,layers=pointwise+pattern:connectivity=3.6`` the first that covers a layer prunes
it. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args, get_type_hints

from ...sparse_dialect.errors import EspalierError
from .words import hint

Balance = Literal["layer", "filter"]
SPECS: dict[str, type[PruneSpec]] = {}
OLD_WORDS = {"block": "bcr", "kernel_group": "kgs"}  # stay accepted


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """Base of every specification. ``linear``, where a kind has it, keeps one weight in so many of each
    linear layer, anywhere (1: all)."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        SPECS[cls.name] = cls

    def __post_init__(self) -> None:
        for key, value in self._items():
            if not isinstance(value, bool | str) and not 1 <= value < float("inf"):
                raise EspalierError(f"--prune {self.name}: {key} must be at least 1, found {value:g}")

    def __str__(self) -> str:
        return f"{self.name}:{','.join(f'{key}={_text(value)}' for key, value in self._items())}"

    def _items(self) -> list[tuple[str, int | float | str]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


@dataclass(frozen=True, kw_only=True)
class PatternSpec(PruneSpec):
    """PatDNN: ``entries`` weights in each ``kernel`` x ``kernel`` kernel, at the places of one of
    ``patterns`` patterns.

    ``library``: the patterns are chosen over the whole ``net`` or for each ``layer``. ``connectivity``: one
    kernel in so many stays, in every convolution but the first and the depthwise ones, 1x1 included;
    ``balance`` ranks the kernels of a ``layer`` together (PatDNN) or keeps equally many in each ``filter``
    (PCONV). Other kernel sizes are only cut.
    """

    name: ClassVar[str] = "pattern"
    entries: int = 4
    patterns: int = 8
    kernel: int = 3
    library: Literal["net", "layer"] = "net"
    connectivity: float = 1
    balance: Balance = "layer"
    linear: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0 or self.kernel == 1:
            raise EspalierError(f"--prune pattern: kernel must be odd and above 1, found {self.kernel}")
        if self.entries > self.kernel**2:
            raise EspalierError(f"--prune pattern: {self.kernel}x{self.kernel} kernels have no "
                                f"{self.entries} entries to keep")


@dataclass(frozen=True, kw_only=True)
class ConnectivitySpec(PruneSpec):
    """Whole kernels: one in ``rate`` stays, in every convolution but the first and the depthwise ones."""

    name: ClassVar[str] = "connectivity"
    rate: float = 3.6
    balance: Balance = "layer"
    linear: float = 1


@dataclass(frozen=True, kw_only=True)
class UnstructuredSpec(PruneSpec):
    """Single weights: one in ``rate`` stays, in every convolution but the first and the depthwise ones."""

    name: ClassVar[str] = "unstructured"
    rate: float = 8
    linear: float = 1


@dataclass(frozen=True, kw_only=True)
class NmSpec(PruneSpec):
    """N:M: of every ``m`` neighbouring input channels ``n`` stay, in every convolution but the first and the
    depthwise ones, and in linear layers."""

    name: ClassVar[str] = "n_m"
    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n >= self.m:
            raise EspalierError(f"--prune n_m: n must be below m, found {self.n} and {self.m}")


@dataclass(frozen=True, kw_only=True)
class BcrSpec(PruneSpec):
    """GRIM's BCR: one weight in ``rate`` stays, in every block of ``rows`` x ``columns`` of the matrix.

    Covers ``all`` convolutions but the first and the depthwise ones, and linear layers; or, as ``layers``
    says, the ``convolutions`` of these, the ``pointwise`` (1x1) ones, or the linear layers (``matrices``).
    ``row_rate`` above 1: each block keeps one row in so many, and more columns.
    """

    name: ClassVar[str] = "bcr"
    rows: int = 4
    columns: int = 16
    rate: float = 10
    row_rate: float = 1
    layers: Literal["all", "convolutions", "pointwise", "matrices"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.row_rate > self.rate:
            raise EspalierError(f"--prune bcr: row_rate must not be above rate, found {self.row_rate:g} "
                                f"and {self.rate:g}")


@dataclass(frozen=True, kw_only=True)
class KgsSpec(PruneSpec):
    """RT3D's KGS: one weight in ``rate`` stays, in every convolution but the first and the depthwise ones;
    the kernels of ``filters`` x ``channels`` keep the same places, or all or none where ``vanilla``."""

    name: ClassVar[str] = "kgs"
    filters: int = 8
    channels: int = 4
    rate: float = 3.6
    vanilla: bool = False
    score: Literal["rms", "l2"] = "rms"
    linear: float = 1


def parse_specs(text: str) -> tuple[PruneSpec, ...]:
    """The specifications that ``text`` joins with ``+``, each as ``parse_spec`` reads it."""
    return tuple(parse_spec(part) for part in text.split("+"))


def parse_spec(text: str) -> PruneSpec:
    """The specification behind ``kind:key=value,...``; raises ``EspalierError`` that names the wrong word."""
    kind, _, rest = text.strip().partition(":")
    kind = OLD_WORDS.get(kind, kind)
    if kind not in SPECS:
        raise EspalierError(f"--prune: unknown scheme '{kind}'{hint(kind, list(SPECS))}")
    hints = get_type_hints(SPECS[kind])
    keys = [field.name for field in fields(SPECS[kind])]
    values: dict[str, int | float | str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in keys:
            raise EspalierError(f"--prune {kind}: unknown key '{key}'{hint(key, keys)}")
        if not equals or not value:
            raise EspalierError(f"--prune {kind}: expected {key}=VALUE, found '{item.strip()}'")
        if key in values:
            raise EspalierError(f"--prune {kind}: {key} is given twice")
        values[key] = _value(kind, key, value, hints[key])
    return SPECS[kind](**values)


def _text(value: int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(kind: str, key: str, text: str, wanted: type) -> int | float | str:
    """``text`` as the field's type: int, float, true or false, or one of a few words."""
    words = ("true", "false") if wanted is bool else get_args(wanted)
    if words:
        if text not in words:
            raise EspalierError(f"--prune {kind}: {key} must be {' or '.join(words)}, found '{text}'")
        return text == "true" if wanted is bool else text
    try:
        return wanted(text)
    except ValueError:
        noun = "a whole number" if wanted is int else "a number"
        raise EspalierError(f"--prune {kind}: {key} must be {noun}, found '{text}'") from None
