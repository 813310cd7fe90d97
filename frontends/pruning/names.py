"""Which layers ``--prune`` may touch, by their names: ``--only 'features.*' --exclude 'head*,*.fc'``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...errors import EspalierError


@dataclass(frozen=True)
class Names:
    """
    Layers whose name fits one of ``only`` (all, where that is empty) and none of ``exclude``.

    A pattern is a shell's: ``*`` is any text, dots included, ``?`` one character, ``[ab]`` either. It also
    fits the layers inside of a module that it names: ``head`` stands for ``head.0`` too.
    """

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @staticmethod
    def parse(only: str = "", exclude: str = "") -> Names:
        """Of two lists of patterns, each joined with commas."""
        return Names(_patterns(only), _patterns(exclude))

    def choose(self, names: Sequence[str]) -> list[bool]:
        """For each of a module's layer names, whether it is chosen; ``EspalierError`` for a pattern that
        fits none of them, which is a misspelling."""
        for option, patterns in (("--only", self.only), ("--exclude", self.exclude)):
            for pattern in patterns:
                if not any(_fits(pattern, name) for name in names):
                    raise EspalierError(f"{option}: no layer is called '{pattern}'; expected a pattern of "
                                        f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
        return [(not self.only or _any(self.only, name)) and not _any(self.exclude, name) for name in names]


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


__all__ = ["Names"]
