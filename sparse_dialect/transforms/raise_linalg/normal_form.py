"""Which activation a formula is, however it is written.

    x * min(max(x + 3, 0), 6) / 6      x * (relu6(3 + x) * 0.1666667)      x * relu6(x + 3) / 6
    -> one normal form, that of the table's ``hardswish``

Sums and products are flattened, their numbers gathered and their terms put in one order; a quotient is a
product with an inverse; nested bounds become one clamp; 1 / (1 + exp(-x)) is ``sigmoid``. Numbers compare as
f32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...activations import TABLE, Formula


def activation_name(formula: Formula) -> str | None:
    """The name of the table's activation that ``formula`` is, or None."""
    found = _rounded(normal(formula))
    return next((name for name, entry in TABLE.items() if _rounded(normal(entry.formula)) == found), None)


def normal(formula: Formula) -> Formula:
    """``formula`` with ("sum", number, *terms), ("product", number, *factors), ("clamp", low, high, child)
    and ("inverse", child) for its arithmetic."""
    name, *children = formula
    if name in ("x", "number"):
        return formula
    terms = [normal(child) for child in children]
    match name:
        case "neg":
            return _product([("number", -1.0), *terms])
        case "add":
            return _sum(terms)
        case "sub":
            return _sum([terms[0], _product([("number", -1.0), terms[1]])])
        case "mul":
            return _product(terms)
        case "div":
            return _product([terms[0], _inverse(terms[1])])
        case "max" | "min":
            return _bounded(name, *terms)
    return (name, *terms)


def _gathered(kind: str, start: float, terms: list[Formula]) -> tuple[float, list[Formula]]:
    """The numbers of a sum or a product combined, and its other terms; nested ones are opened."""
    total, others = start, []
    for term in terms:
        number, inner = 0.0 if kind == "sum" else 1.0, [term]
        if term[0] == "number":
            number, inner = term[1], []
        elif term[0] == kind:
            number, inner = term[1], list(term[2:])
        total = total + number if kind == "sum" else total * number
        others += inner
    return total, _ordered(others)


def _sum(terms: list[Formula]) -> Formula:
    number, others = _gathered("sum", 0.0, terms)
    if not others:
        return ("number", number)
    return others[0] if number == 0 and len(others) == 1 else ("sum", number, *others)


def _product(terms: list[Formula]) -> Formula:
    number, others = _gathered("product", 1.0, terms)
    if not others:
        return ("number", number)
    return others[0] if number == 1 and len(others) == 1 else ("product", number, *others)


def _inverse(term: Formula) -> Formula:
    if term[0] == "number":
        return ("number", 1 / term[1]) if term[1] else ("inverse", term)
    if term[0] == "sum" and term[1] == 1 and len(term) == 3 and term[2][0] == "exp":
        return ("sigmoid", _product([("number", -1.0), term[2][1]]))
    return ("inverse", term)


def _bounded(name: str, left: Formula, right: Formula) -> Formula:
    """A maximum or minimum with a number as part of one clamp; of two others, in one order."""
    if left[0] != "number":
        left, right = right, left
    if left[0] != "number" or right[0] == "number":
        return (name, *_ordered([left, right]))
    low, high, child = (-math.inf, math.inf, right) if right[0] != "clamp" else right[1:]
    if name == "max":
        low = max(low, left[1])
    else:
        high = min(high, left[1])
    if low > high:  # the outer bound wins
        return (name, left, right)
    return ("clamp", low, high, child)


def _ordered(terms: list[Formula]) -> list[Formula]:
    return sorted(terms, key=lambda term: repr(_rounded(term)))


def _rounded(value: Any) -> Any:
    """``value`` with its numbers rounded to f32, as programs hold them."""
    if isinstance(value, tuple):
        return tuple(_rounded(part) for part in value)
    return float(np.float32(value)) if isinstance(value, float) else value
