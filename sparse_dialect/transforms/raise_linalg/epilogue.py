"""What follows a layer: batch norm, bias, residual and activation, read off as one expression.

    %y = linalg.conv...                                        activation(scale * y + shift + residual)
    %a = %y * %scale ; %b = %a + %shift ; %c = max(%b, 0)  ->  scale, shift, no residual, "relu"

The elementwise ops behind a convolution or a matrix product, in any order, any grouping into generics and
with values that are read twice (x * sigmoid(x)), are one tree over the layer's output. The largest part of it
that is linear gives ``scale`` and ``shift``, one f64 number a channel (axis 1); what is around it must be an
activation of the table (``activations.py``). What does not fit ends the epilogue and stays in linalg.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from ...activations import Formula, X
from ...ir.mlir import ir
from .normal_form import activation_name
from .values import (
    Elementwise,
    Node,
    align,
    apply_numpy,
    elementwise,
    evaluate,
    evaluate_tree,
    is_f32_tensor,
)

MOST_OPS, MOST_NODES = 16, 200  # of an epilogue: what is larger is none of the table's
OUTPUT: Node = ("input", 0)  # the layer's own result


@dataclass(frozen=True)
class Epilogue:
    """activation(scale * y + shift + residual); ``scale`` and ``shift`` are f64 [channels]."""

    scale: np.ndarray
    shift: np.ndarray
    residual: ir.Value | None = None
    activation: str = "none"

    @staticmethod
    def identity(channels: int, shift: np.ndarray | None = None) -> Epilogue:
        """y + shift."""
        return Epilogue(np.ones(channels), np.zeros(channels) if shift is None else shift)

    @property
    def is_scaled(self) -> bool:
        return bool(np.any(self.scale != 1.0))


@dataclass(frozen=True)
class _Other:
    """Another tensor of the layer's shape."""

    value: ir.Value


_Term = Epilogue | _Other | np.ndarray


def follow(result: ir.Value, start: Epilogue, residuals: bool) -> tuple[Epilogue, list[ir.Operation]]:
    """The longest epilogue that the dialect can name, and its ops in program order.

    ``result`` has type [N, channels, ...]; ``residuals`` allows one added tensor of the same type."""
    reader = _Reader(result, start, residuals)
    best: tuple[Epilogue, list[ir.Operation]] = (start, [])
    while reader.grow():
        after = reader.epilogue() if reader.is_closed() else None
        if after is not None:
            best = (after, list(reader.ops))
    return best


def linear(start: Epilogue, body: Elementwise, value: ir.Value) -> Epilogue | None:
    """``start`` followed by ``body``, which reads the layer's output ``value``, if it only scales and
    shifts."""
    channels = len(start.scale)

    def leaf(index: int) -> _Term | None:
        if body.inputs[index] == value:
            return start if body.is_identity(index) else None
        return _channel_constant(body.inputs[index], body.maps[index], body.rank, channels)

    after = None if body.asserts else evaluate_tree(body.result, leaf, np.float64, _apply)
    return after if isinstance(after, Epilogue) else None


class _Reader:
    """Follows a layer's result through elementwise ops, as one tree over ``leaves``."""

    def __init__(self, result: ir.Value, start: Epilogue, residuals: bool) -> None:
        self.result, self.residuals = result, residuals
        self.ops: list[ir.Operation] = []
        self._trees: dict[ir.Value, Node] = {result: OUTPUT}
        self._keys: list[tuple[ir.Value, tuple[int | None, ...]]] = [(result, ())]
        self._leaves: list[_Term] = [start]

    def grow(self) -> bool:
        """Takes in one more op, all of whose operands are known; False where there is none."""
        if len(self.ops) == MOST_OPS:
            return False
        readers = [use.owner.operation for value in self._trees for use in value.uses]
        for residuals in (False, True):  # what may still become known is not taken for a residual
            for user in readers:
                tree = None if user in self.ops else self._tree(user, residuals and self.residuals)
                if tree is not None:
                    self.ops.append(user)
                    self._trees[user.results[0]] = tree
                    return True
        return False

    def is_closed(self) -> bool:
        """Whether only the last op's result is read by others."""
        last = self.ops[-1].results[0]
        return all(value == last or all(use.owner.operation in self.ops for use in value.uses)
                   for value in self._trees)

    def epilogue(self) -> Epilogue | None:
        """What all the ops compute, as an epilogue; None where it has another form."""
        tree = self._trees[self.ops[-1].results[0]]
        for part in sorted(set(_parts(tree)), key=_size, reverse=True):
            before = evaluate_tree(part, self._leaves.__getitem__, np.float64, _apply)
            if not isinstance(before, Epilogue):
                continue
            around = self._formula(_replaced(tree, part))
            name = None if around is None else activation_name(around)
            if name is not None:
                return replace(before, activation=name)
        return None

    def _tree(self, op: ir.Operation, residuals: bool) -> Node | None:
        """The tree of ``op``'s result; None where it is not elementwise or reads what is not known."""
        body = elementwise(op)
        if body is None or body.asserts or op.results[0].type != self.result.type:
            return None
        if op.parent != self.result.owner.parent:
            return None
        inputs: list[Node] = []
        for index, value in enumerate(body.inputs):
            node = self._trees.get(value) if value in self._trees else self._leaf(body, index, residuals)
            if node is None or (value in self._trees and not body.is_identity(index)):
                return None
            inputs.append(node)
        tree = _substituted(body.result, inputs)
        return tree if _size(tree) <= MOST_NODES else None

    def _leaf(self, body: Elementwise, index: int, residuals: bool) -> Node | None:
        """A constant along all axes but the channels', or with ``residuals`` another tensor of the layer's
        shape."""
        value, dims = body.inputs[index], body.maps[index]
        if (value, dims) in self._keys:
            return ("input", self._keys.index((value, dims)))
        start = self._leaves[0]
        assert isinstance(start, Epilogue)
        term: _Term | None = _channel_constant(value, dims, body.rank, len(start.scale))
        if term is None and residuals and body.is_identity(index):
            term = _Other(value) if value.type == self.result.type and is_f32_tensor(value) else None
        if term is None:
            return None
        self._keys.append((value, dims))
        self._leaves.append(term)
        return ("input", len(self._leaves) - 1)

    def _formula(self, node: Node) -> Formula | None:
        """``node`` with one number for every constant; None where it reads a tensor or varies."""
        name, *children = node
        if name in ("x", "number"):
            return node
        if name == "input":
            leaf = self._leaves[children[0]]
            return ("number", float(leaf[0])) if _is_constant(leaf) and np.all(leaf == leaf[0]) else None
        terms = [term for child in children if (term := self._formula(child)) is not None]
        if len(terms) < len(children):
            return None
        if all(term[0] == "number" for term in terms):
            value = apply_numpy(name, *(np.float64(term[1]) for term in terms))
            return None if value is None else ("number", float(value))
        return None if name == "cast" else (name, *terms)


def _parts(tree: Node) -> Iterator[Node]:
    """Every subtree that may hold the layer's output."""
    yield tree
    if tree[0] not in ("input", "number"):
        for child in tree[1:]:
            yield from _parts(child)


def _size(tree: Any) -> int:
    return 1 + sum(map(_size, tree)) if isinstance(tree, tuple) else 0


def _replaced(tree: Node, part: Node) -> Node:
    """``tree`` with ``X`` for every occurrence of ``part``."""
    if tree == part:
        return X
    return tree if tree[0] in ("input", "number") else (tree[0], *(_replaced(c, part) for c in tree[1:]))


def _substituted(tree: Node, inputs: list[Node]) -> Node:
    """``tree`` with ``inputs`` for its inputs."""
    if tree[0] == "input":
        return inputs[tree[1]]
    return tree if tree[0] == "number" else (tree[0], *(_substituted(c, inputs) for c in tree[1:]))


def _channel_constant(value: ir.Value, dims: tuple[int | None, ...], rank: int,
                      channels: int) -> np.ndarray | None:
    """A constant as f64 [channels] or, one number for all, [1]; None when it varies along another axis."""
    array = evaluate(value)
    aligned = None if array is None else align(array, dims, rank)
    if aligned is None or aligned.shape[1] not in (1, channels):
        return None
    line = aligned[(slice(0, 1), slice(None), *(slice(0, 1),) * (rank - 2))]
    return line.reshape(-1) if aligned.size == line.size or np.all(aligned == line) else None


def _apply(name: str, *terms: _Term) -> _Term | None:
    """One operation of a body; None where scale * y + shift + residual cannot hold the result."""
    if all(_is_constant(t) for t in terms):
        return apply_numpy(name, *terms)
    if name == "neg" and isinstance(terms[0], Epilogue):
        return _scaled(terms[0], -1.0, 0.0)
    if len(terms) != 2:
        return None
    left, right = terms
    if isinstance(right, Epilogue) and name in ("add", "mul"):
        left, right = right, left
    if isinstance(right, Epilogue):
        return _scaled(right, -1.0, left) if name == "sub" and _is_constant(left) else None
    if not isinstance(left, Epilogue):
        return None
    if isinstance(right, _Other):
        return replace(left, residual=right.value) if name == "add" and left.residual is None else None
    if name in ("add", "sub"):
        return replace(left, shift=left.shift + right if name == "add" else left.shift - right)
    if name == "mul":
        return _scaled(left, right, 0.0)
    if name == "div":
        with np.errstate(all="ignore"):  # a zero divisor shows as a scale that is not finite
            return _scaled(left, 1.0 / np.asarray(right), 0.0)
    return None


def _is_constant(term: object) -> TypeGuard[np.ndarray]:
    return isinstance(term, np.ndarray | np.floating)


def _scaled(term: Epilogue, factor: np.ndarray | float, offset: np.ndarray | float) -> Epilogue | None:
    """term * factor + offset; not behind a residual, and only with finite numbers."""
    scale, shift = term.scale * factor, term.shift * factor + offset
    if not np.all(np.isfinite(scale)) or not np.all(np.isfinite(shift)):
        return None
    return replace(term, scale=scale, shift=shift) if term.residual is None else None


__all__ = ["Epilogue", "follow", "linear"]
