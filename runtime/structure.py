"""How a model is called and what it answers: nested tuples, lists and dicts of tensors, as JSON.

    forward(x, state=(h, c), scale=2.0)   [["x", {"tensor": 0}], ["state", {"tuple": [{"tensor": 1}, ...]}],
                                           ["scale", {"constant": 2.0}]]

A manifest holds the parameters of a call in the module's order, each with its structure (``call``), and the
structure of the answer (``answer``). Compiled code itself takes and gives flat lists of tensors, numbered in
the structures. Numbers, strings, booleans and None were constants when the model was compiled, and stay so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ..errors import EspalierError

Structure = dict[str, Any]
Parameters = Sequence[tuple[str, Structure]]
CONSTANTS = (bool, int, float, str, type(None))


class Slot:
    """Stands for tensor ``number`` in a value whose structure is taken."""

    def __init__(self, number: int) -> None:
        self.number = number


def structure_of(value: Any) -> Structure:
    """The structure of a value whose tensors are ``Slot``s; ``EspalierError`` for what is none of these."""
    if isinstance(value, Slot):
        return {"tensor": value.number}
    if isinstance(value, CONSTANTS):
        return {"constant": value}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise EspalierError("expected strings as keys of a dict, found "
                                f"{next(type(key).__name__ for key in value if not isinstance(key, str))}")
        made = {} if type(value) is dict else {"class": _class_name(value)}
        return {"dict": {key: structure_of(item) for key, item in value.items()}, **made}
    if is_dataclass(value):
        return {"dict": {key: structure_of(item) for key, item in _fields(value).items()},
                "class": _class_name(value)}
    if isinstance(value, tuple) and (hasattr(value, "_fields") or _is_struct_sequence(type(value))):
        return {"tuple": [structure_of(item) for item in value], "class": _class_name(value)}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [structure_of(item) for item in value]}
    raise EspalierError("expected tensors, numbers, strings, None, and tuples, lists and dicts of these, "
                        f"found {type(value).__name__}")


def parameters_from(entry: Any) -> Parameters | None:
    """The parameters that a manifest holds, None for none; ``ValueError`` or ``TypeError`` for nonsense."""
    return None if entry is None else [(str(name), _checked(of)) for name, of in entry]


def answer_from(entry: Any) -> Structure | None:
    """The answer's structure that a manifest holds, as ``parameters_from``."""
    return None if entry is None else _checked(entry)


def _checked(entry: Any) -> Structure:
    kinds: dict[str, Any] = {"tensor": int, "constant": CONSTANTS, "dict": dict, "tuple": list, "list": list}
    kind = next((kind for kind in kinds if kind in entry), "") if isinstance(entry, dict) else ""
    if not kind or not isinstance(entry[kind], kinds[kind]) or not isinstance(entry.get("class", ""), str):
        raise ValueError(f"no structure: {entry!r:.80}")
    for item in _items(entry):
        _checked(item)
    return entry


def build(structure: Structure, tensors: Sequence[Any]) -> Any:
    """The value of that structure with ``tensors`` in it.

    A named tuple, a dataclass or a dict of a class of its own is of that class where the program has loaded
    it; else it is a plain tuple or dict.
    """
    if "tensor" in structure:
        return tensors[structure["tensor"]]
    if "constant" in structure:
        return structure["constant"]
    made = _loaded_class(structure.get("class", ""))
    if "dict" in structure:
        items = {key: build(item, tensors) for key, item in structure["dict"].items()}
        return made(**items) if made is not None else items
    values = [build(item, tensors) for item in _items(structure)]
    if "list" in structure:
        return values
    if made is None:
        return tuple(values)
    return made(values) if _is_struct_sequence(made) else made(*values)


def arguments(parameters: Parameters, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
    """
    The tensors of a call, flat, in the compiled model's order.

    Parameters come by position or by name; those without tensors may be left out. Raises ``EspalierError``
    for one that is missing, unknown, of another structure, or of another constant.
    """
    names = [name for name, _ in parameters]
    given = dict(zip(names, inputs, strict=False))
    if len(inputs) > len(names):
        raise EspalierError(f"expected {len(names)} inputs ({', '.join(names)}), found {len(inputs)}")
    for name, value in keywords.items():
        if name not in names or name in given:
            fault = "is given twice" if name in given else "is unknown"
            raise EspalierError(f"input '{name}' {fault}; expected {', '.join(names)}")
        given[name] = value
    found: dict[int, Any] = {}
    for name, structure in parameters:
        if name in given:
            _collect(structure, given[name], name, found)
        elif _has_tensors(structure):
            raise EspalierError(f"input '{name}' is missing; expected {', '.join(names)}")
    return [found[number] for number in sorted(found)]


def _collect(structure: Structure, value: Any, path: str, found: dict[int, Any]) -> None:
    if "tensor" in structure:
        if value is None or isinstance(value, dict | str):
            raise EspalierError(f"input '{path}': expected a tensor, found {type(value).__name__}")
        found[structure["tensor"]] = value
    elif "constant" in structure:
        known = structure["constant"]
        if not isinstance(value, CONSTANTS) or value != known:
            shown = repr(value) if isinstance(value, CONSTANTS) else type(value).__name__
            raise EspalierError(f"input '{path}': the model was compiled for {known!r}, found {shown:.40}; "
                                "compile it again for another")
    elif "dict" in structure:
        items = structure["dict"]
        value = _fields(value) if is_dataclass(value) and not isinstance(value, Mapping) else value
        if not isinstance(value, Mapping) or set(value) != set(items):
            raise EspalierError(f"input '{path}': expected a dict of {', '.join(items)}, found "
                                f"{_shown(value)}")
        for key, item in items.items():
            _collect(item, value[key], f"{path}.{key}", found)
    else:
        wanted = _items(structure)
        if not isinstance(value, list | tuple) or len(value) != len(wanted):
            raise EspalierError(f"input '{path}': expected {len(wanted)} values, found {_shown(value)}")
        for number, (item, inner) in enumerate(zip(wanted, value, strict=True)):
            _collect(item, inner, f"{path}[{number}]", found)


def _has_tensors(structure: Structure) -> bool:
    return "tensor" in structure or any(map(_has_tensors, _items(structure)))


def _items(structure: Structure) -> list[Structure]:
    """What a tuple, list or dict holds."""
    if "dict" in structure:
        return list(structure["dict"].values())
    return list(structure["tuple"] if "tuple" in structure else structure.get("list", ()))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"
    return f"{len(value)}" if isinstance(value, list | tuple) else type(value).__name__


def _fields(value: Any) -> dict[str, Any]:
    """What a dataclass holds."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _loaded_class(name: str) -> Any:
    """A class that is loaded already: a model file must not make Python import anything."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    is_plain = isinstance(found, type) and (issubclass(found, dict) or hasattr(found, "_fields")
                                              or is_dataclass(found) or _is_struct_sequence(found))
    return found if name and is_plain else None


def _is_struct_sequence(kind: Any) -> bool:
    """Whether ``kind`` is a tuple whose places have names and that C made: ``torch.return_types``'."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "n_sequence_fields")


__all__ = ["Parameters", "Slot", "Structure", "answer_from", "arguments", "build", "parameters_from",
           "structure_of"]
