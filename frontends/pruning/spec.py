"""What to prune, as text: ``pattern:entries=4,patterns=8,connectivity=3.6,linear=8``.

One frozen dataclass a kind; its fields are the keys of the text, and ``str`` prints the text back. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import ClassVar, Literal, get_args, get_type_hints

from ...sparse_dialect.errors import EspalierError

Balance = Literal["layer", "filter"]
SPECS: dict[str, type[PruneSpec]] = {}


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """Base of every specification; ``linear`` keeps one weight in so many of each linear layer (1: all)."""

    name: ClassVar[str]
    linear: float = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        SPECS[cls.name] = cls

    def __post_init__(self) -> None:
        for key, value in self._items():
            if isinstance(value, int | float) and not 1 <= value < float("inf"):
                raise EspalierError(f"--prune {self.name}: {key} must be at least 1, found {value:g}")

    def __str__(self) -> str:
        return f"{self.name}:{','.join(f'{key}={value}' for key, value in self._items())}"

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


@dataclass(frozen=True, kw_only=True)
class UnstructuredSpec(PruneSpec):
    """Single weights: one in ``rate`` stays, in every convolution but the first and the depthwise ones."""

    name: ClassVar[str] = "unstructured"
    rate: float = 8


def parse_spec(text: str) -> PruneSpec:
    """The specification behind ``kind:key=value,...``; raises ``EspalierError`` that names the wrong word."""
    kind, _, rest = text.strip().partition(":")
    if kind not in SPECS:
        raise EspalierError(f"--prune: unknown scheme '{kind}'{_hint(kind, list(SPECS))}")
    hints = get_type_hints(SPECS[kind])
    keys = [field.name for field in fields(SPECS[kind])]
    values: dict[str, int | float | str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in keys:
            raise EspalierError(f"--prune {kind}: unknown key '{key}'{_hint(key, keys)}")
        if not equals or not value:
            raise EspalierError(f"--prune {kind}: expected {key}=VALUE, found '{item.strip()}'")
        if key in values:
            raise EspalierError(f"--prune {kind}: {key} is given twice")
        values[key] = _value(kind, key, value, hints[key])
    return SPECS[kind](**values)  # type: ignore[arg-type]  # each value has the type of its field


def _value(kind: str, key: str, text: str, wanted: type) -> int | float | str:
    """``text`` as the field's type: int, float or one of a few words."""
    words = get_args(wanted)
    if words:
        if text not in words:
            raise EspalierError(f"--prune {kind}: {key} must be {' or '.join(words)}, found '{text}'")
        return text
    try:
        return wanted(text)
    except ValueError:
        noun = "a whole number" if wanted is int else "a number"
        raise EspalierError(f"--prune {kind}: {key} must be {noun}, found '{text}'") from None


def _hint(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, 1)
    return f": did you mean {close[0]}?" if close else f": expected one of {', '.join(known)}"
