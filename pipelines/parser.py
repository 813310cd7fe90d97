"""MLIR's textual pipeline grammar, with our passes, named pipelines and upstream passes mixed at any nesting.

    pipeline := anchor `(` [item {`,` item}] `)`
    item     := pipeline | name [`{` options `}`]

``str(parse_pipeline(text))`` parses to the same value again. Every error names its line and column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..sparse_dialect.errors import EspalierError
from . import upstream
from .options import OptionError, parse_options
from .pipeline import ROOT, Item, Nest, PassItem, UpstreamItem
from .registry import Registry, default_registry, suggestion

NAME = re.compile(r"[A-Za-z_][\w.-]*")
QUOTED_OR_BRACE = re.compile(r"""[{}]|"(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*'""", re.DOTALL)
BRACE = re.compile(r"[{}]")
ANY = "any"


def parse_pipeline(text: str, registry: Registry | None = None) -> Nest:
    """The pipeline that ``text`` spells, e.g. ``builtin.module(sparse-detect-schemes,func.func(cse))``."""
    parser = _Parser(text, registry or default_registry())
    parser.space()
    start = parser.position
    anchor = parser.name("a pipeline such as builtin.module(...)")
    if not parser.take("("):
        raise parser.error(f"expected the pipeline to start with an anchor, e.g. '{ROOT}({anchor})'", start)
    nest = parser.nest(anchor)
    parser.space()
    if parser.position != len(text):
        raise parser.error(f"expected the end of the pipeline, found '{text[parser.position:]}'")
    return nest


def parse_items(text: str, anchor: str = ROOT, registry: Registry | None = None) -> tuple[Item, ...]:
    """The items of a comma list without its anchor, e.g. ``sparse-detect-schemes,cse``."""
    parser = _Parser(text, registry or default_registry())
    items = parser.items(anchor)
    if parser.position != len(text):
        raise parser.error(f"expected ',' or the end, found '{text[parser.position:]}'")
    return items


def named_pipeline(name: str, registry: Registry | None = None) -> Nest:
    """The named pipeline ``name`` (``sparse-to-llvm``) as a value."""
    registry = registry or default_registry()
    if name not in registry.pipelines:
        raise EspalierError(f"unknown pipeline '{name}'{suggestion(name, registry.pipelines)}")
    return Nest(ROOT, parse_items(str(registry.pipelines[name]), ROOT, registry))


@dataclass
class _Parser:
    text: str
    registry: Registry
    position: int = 0

    def error(self, message: str, position: int | None = None) -> EspalierError:
        at = self.position if position is None else position
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        return EspalierError(f"pass pipeline, line {line}, column {column}: {message}")

    def space(self) -> None:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1

    def take(self, character: str) -> bool:
        self.space()
        found = self.text.startswith(character, self.position)
        self.position += found
        return found

    def name(self, wanted: str) -> str:
        self.space()
        match = NAME.match(self.text, self.position)
        if match is None:
            found = self.text[self.position :]
            raise self.error(f"expected {wanted}, found {repr(found) if found else 'the end'}")
        self.position = match.end()
        return match[0]

    def nest(self, anchor: str) -> Nest:
        """The rest of a nest after its ``(``."""
        items = () if self.take(")") else self.items(anchor, closed=True)
        return Nest(anchor, items)

    def items(self, anchor: str, closed: bool = False) -> tuple[Item, ...]:
        found: list[Item] = []
        while True:
            found.extend(self.item(anchor))
            if self.take(","):
                continue
            if closed and not self.take(")"):
                raise self.error("expected ',' or ')'")
            return tuple(found)

    def item(self, anchor: str) -> tuple[Item, ...]:
        """One item; several where a named pipeline stands."""
        self.space()
        start = self.position
        name = self.name("a pass name")
        if self.take("("):
            return (self.nest(name),)
        if name in self.registry:
            return (self.our_pass(name, anchor, start),)
        if name in self.registry.pipelines:
            if anchor != ROOT:
                raise self.error(f"pipeline '{name}' runs on '{ROOT}', not on '{anchor}'", start)
            if self.take("{"):
                raise self.error(f"pipeline '{name}' takes no options")
            return parse_items(str(self.registry.pipelines[name]), ROOT, self.registry)
        return (self.upstream_pass(name, anchor, start),)

    def our_pass(self, name: str, anchor: str, start: int) -> PassItem:
        cls = self.registry.get(name)
        if cls.anchor not in (anchor, ANY):
            raise self.error(f"pass '{name}' runs on '{cls.anchor}', not on '{anchor}'", start)
        options = self.braces(QUOTED_OR_BRACE)
        try:
            return PassItem(parse_options(cls, options))
        except OptionError as error:
            where = self.position - 1 - len(options) if options else start
            raise self.error(str(error), where + error.position) from error

    def upstream_pass(self, name: str, anchor: str, start: int) -> UpstreamItem:
        options = self.braces(BRACE)
        try:
            upstream.check(anchor, name, options)
        except upstream.UnknownUpstream:
            known = [*self.registry.names(), *self.registry.pipelines, *upstream.COMMON]
            raise self.error(f"unknown pass '{name}'{suggestion(name, known)}", start) from None
        except EspalierError as error:
            raise self.error(str(error), start) from error
        return UpstreamItem(name, options)

    def braces(self, marks: re.Pattern[str]) -> str:
        """The text of a ``{...}`` that follows, inner braces balanced (``marks``: what to skip), or empty."""
        if not self.take("{"):
            return ""
        start, depth = self.position, 1
        for mark in marks.finditer(self.text, start):
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                self.position = mark.end()
                return self.text[start : mark.start()]
        raise self.error("this '{' has no matching '}'", start - 1)
