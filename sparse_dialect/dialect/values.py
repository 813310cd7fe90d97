"""Frozen dataclasses of plain fields as MLIR attributes, and back: a class's fields decide, no list is kept.

    int -> 4 : i64, bool -> true, str -> "x", tuple -> [..] of these

Where every field has a default, a dictionary may hold only those that differ from it, None among them:

    Schedule(tile=(1, 2, 7), passes=2)  <->  {passes = 2 : i64, tile = [1, 2, 7]}
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..ir.mlir import ir
from ..ir.values import i64

T = TypeVar("T")
KINDS: dict[type, type] = {bool: ir.BoolAttr, int: ir.IntegerAttr, str: ir.StringAttr, tuple: ir.ArrayAttr}
WORDS: dict[type, str] = {ir.BoolAttr: "true or false", ir.IntegerAttr: "an integer",
                          ir.StringAttr: "a string", ir.ArrayAttr: "an array of integers"}


def encoded(value: Any) -> ir.Attribute:
    """The attribute of a field's value (needs a current context); ``TypeError`` for what has none."""
    if isinstance(value, bool):
        return ir.BoolAttr.get(value)
    if isinstance(value, int):
        return i64(value)
    if isinstance(value, str):
        return ir.StringAttr.get(value)
    if isinstance(value, tuple):
        return ir.ArrayAttr.get([encoded(item) for item in value])
    raise TypeError(f"no attribute for {value!r}: expected an integer, a truth value, text or tuples")


def decoded(attribute: ir.Attribute) -> Any:
    """The value behind ``encoded``; ``TypeError`` for an attribute of another kind."""
    attribute = attribute.maybe_downcast()
    if isinstance(attribute, ir.BoolAttr | ir.IntegerAttr | ir.StringAttr):
        return attribute.value
    if isinstance(attribute, ir.ArrayAttr):
        return tuple(decoded(item) for item in attribute)
    raise TypeError(f"expected an integer, a truth value, text or an array, found {attribute}")


def field_kinds(cls: type) -> dict[str, type]:
    """The attribute class of each field of a dataclass, by its type hint; ``TypeError`` for others."""
    hints = get_type_hints(cls)
    found: dict[str, type] = {}
    for field in fields(cls):
        hint = hints[field.name]
        if get_origin(hint) is types.UnionType:  # one kind, or None
            hint = next(part for part in get_args(hint) if part is not types.NoneType)
        kind = KINDS.get(get_origin(hint) or hint)
        if kind is None:
            raise TypeError(f"{cls.__name__}.{field.name} of {hint} has no attribute: "
                            f"expected int, bool, str or a tuple")
        found[field.name] = kind
    return found


def dictionary_of(value: Any) -> dict[str, ir.Attribute]:
    """The fields of a frozen dataclass as attributes by name (needs a current context)."""
    return {field.name: encoded(getattr(value, field.name)) for field in fields(value)}


def from_dictionary(cls: type, attributes: Mapping[str, ir.Attribute]) -> Any:
    """The dataclass behind ``dictionary_of``; ``ValueError`` where the names or kinds are not its fields'."""
    names = [field.name for field in fields(cls)]
    if sorted(names) != sorted(attributes):
        raise ValueError(f"expected {', '.join(names) or 'no parameters'}, found "
                         f"{', '.join(attributes) or 'none'}")
    for name, kind in field_kinds(cls).items():
        if not isinstance(attributes[name], kind):
            raise ValueError(f"expected {name} to be {kind.__name__}, found {attributes[name]}")
    return cls(**{name: decoded(attributes[name]) for name in names})


def changes_of(value: Any) -> ir.DictAttr:
    """The fields of the dataclass ``value`` that differ from their defaults (needs a current context)."""
    changed = {field.name: getattr(value, field.name) for field in fields(value)
               if getattr(value, field.name) != field.default}
    return ir.DictAttr.get({name: encoded(part) for name, part in changed.items()})


def from_changes(cls: Callable[..., T], attribute: ir.Attribute) -> T:
    """The dataclass behind ``changes_of``, whose tuples are of integers; raises ``ValueError`` for a field
    that it does not have, or of another kind."""
    kinds: dict[str, type[ir.Attribute]] = _kinds(cls)
    found: dict[str, Any] = {}
    for named in ir.DictAttr(attribute):
        if named.name not in kinds:
            raise ValueError(f"expected fields of {', '.join(kinds)}, found '{named.name}'")
        kind = kinds[named.name]
        part: Any = named.attr.maybe_downcast()
        items = part if isinstance(part, ir.ArrayAttr) else ()
        if not isinstance(part, kind) or not all(isinstance(item, ir.IntegerAttr) for item in items):
            raise ValueError(f"expected {named.name} to be {WORDS[kind]}, found {part}")
        found[named.name] = decoded(part)
    return cls(**found)


@functools.cache
def _kinds(cls: Any) -> dict[str, type]:
    return field_kinds(cls)
