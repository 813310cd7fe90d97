"""Pass options, text to fields and back: ``{tile=4 grid=8,2}`` <-> ``SomePass(tile=4, grid=(8, 2))``.

An option is spelt like its field with ``-`` for ``_``. Field types: bool, int, float, str, ``Literal``, a
``tuple[int, ...]`` (or of bool, float, ``Literal``) as a comma list, and ``X | None`` of those, where
``none`` is None. The grammar is MLIR's (``name=value`` separated by spaces, a bare name means true, quotes
around odd strings); inside quotes ``\\`` escapes.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, Union

from ..errors import did_you_mean
from ..sparse_dialect.errors import EspalierError
from ..sparse_dialect.passes import Pass

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
PLAIN = re.compile(r"[\w.+:/@#*,-]+")  # strings that need no quotes
TOKEN = re.compile(r"""[\s]*(?P<name>[\w.-]+)(?P<equals>=)?""")


class OptionError(EspalierError):
    """A bad option; ``position`` counts characters from the start of the options' text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Option:
    """What a pass declares: spelling, field, type, default and help text."""

    name: str
    field: str
    type: Any
    default: Any
    help: str

    def type_text(self) -> str:
        """``int``, ``bool``, ``length|pattern``, ``int,...``."""
        return _describe(self.type)


def options_of(cls: type[Pass]) -> dict[str, Option]:
    """The options of a pass class, by spelling, in field order."""
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        name = field.name.replace("_", "-")
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        found[name] = Option(name, field.name, hints[field.name], default, field.metadata.get("help", ""))
    return found


def parse_options(cls: type[Pass], text: str) -> Pass:
    """The pass that ``cls`` with the options ``text`` (no braces) means; raises ``OptionError``."""
    known, values, position = options_of(cls), {}, 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise OptionError(f"pass '{cls.name}' expected option=value, found '{text[start:]}'", start)
        start, position, name = match.start("name"), match.end(), match["name"]
        if name not in known:
            raise OptionError(f"pass '{cls.name}' has no option '{name}'{_hint(name, known)}", start)
        value = "true"
        if match["equals"]:
            value, position = _value(text, position)
        option = known[name]
        if option.field in values:
            raise OptionError(f"pass '{cls.name}' was given option '{name}' twice", start)
        try:
            values[option.field] = _read(option.type, value)
        except ValueError:
            raise OptionError(f"option '{name}' of pass '{cls.name}' expected {option.type_text()}, "
                              f"found '{value}'", start) from None
    missing = [o.name for o in known.values() if o.field not in values and o.default is dataclasses.MISSING]
    if missing:
        raise OptionError(f"pass '{cls.name}' needs option '{missing[0]}'", len(text))
    try:
        return cls(**values)
    except (ValueError, EspalierError) as error:  # a check across fields, in the pass's __post_init__
        raise OptionError(f"pass '{cls.name}': {error}", 0) from error


def check_fields(value: Any) -> None:
    """Raises ``EspalierError`` where a field of ``value``, a dataclass of options from Python, is not of the
    type that it declares."""
    for name, type_ in typing.get_type_hints(type(value)).items():
        found = getattr(value, name)
        if not _fits(type_, found):
            raise EspalierError(f"option '{name}' expected {_describe(type_)}, found {found!r:.40}")


def _fits(type_: Any, value: Any) -> bool:
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (Union, types.UnionType):
        return any(_fits(argument, value) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    return type(value) is type_  # a bool is no number here


def print_options(value: Pass) -> str:
    """``{name=value ...}`` with the options that differ from their defaults; empty when none does."""
    parts = []
    for option in options_of(type(value)).values():
        current = getattr(value, option.field)
        if current != option.default or type(current) is not type(option.default):
            parts.append(f"{option.name}={_print(current)}")
    return "{" + " ".join(parts) + "}" if parts else ""


def _hint(name: str, known: dict[str, Option]) -> str:
    meant = did_you_mean(name, known, 2)
    if meant:
        return f"; {meant}"
    return f"; it has {', '.join(known)}" if known else "; it has none"


def _value(text: str, position: int) -> tuple[str, int]:
    """The value that starts at ``position`` and the position after it."""
    quote = text[position : position + 1]
    if quote and quote in "'\"":
        match = re.compile(rf"{quote}((?:\\.|[^\\{quote}])*){quote}(?=\s|$)", re.DOTALL).match(text, position)
        if match is None:
            raise OptionError(f"unclosed {quote}", position)
        return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), match.end()
    match = re.compile(r"\S*").match(text, position)
    assert match is not None  # the pattern matches the empty string
    return match[0], match.end()


def _read(type_: Any, text: str) -> Any:
    """``text`` as a value of ``type_``; raises ``ValueError``."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        return None if text == "none" else _read(inner[0], text)
    if origin is Literal:
        matching = [a for a in arguments if str(a) == text]
        return matching[0] if matching else _fail(text)
    if origin is tuple:
        return tuple(_read(arguments[0], part.strip()) for part in text.split(",")) if text else ()
    if type_ is bool:
        return BOOLEANS[text] if text in BOOLEANS else _fail(text)
    if type_ in (int, float, str):
        return type_(text)
    raise TypeError(f"a pass option cannot have the type {type_}")


def _fail(text: str) -> Any:
    raise ValueError(text)


def _print(value: Any) -> str:
    text = _plain(value)
    return text if PLAIN.fullmatch(text) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _plain(value: Any) -> str:
    """The value's text before quoting."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(_plain(v) for v in value)
    return str(value)


def _describe(type_: Any) -> str:
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (Union, types.UnionType):
        return "|".join(_describe(a) if a is not type(None) else "none" for a in arguments)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin is tuple:
        return f"{_describe(arguments[0])},..."
    return str(type_.__name__)
