"""What weights are kept in: the base of every storage, and a packed weight.

A storage is a frozen value whose fields are what the code that reads it is specialised by (filters that
share a row, channels of a block, lanes, ...): a layer's schedule says them (``storage/choice.py``). One
class a file; ``STORAGES`` lists them by name.

    fkw, column_groups, dense_kernels          convolutions
    sell, dense_rows                           linear and recurrent layers
    kept_rows                                  linear layers
    bcrc, kgs, csr                             the papers' formats, for comparison: no kernel reads them
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ..errors import EspalierError
from ..schemes.scheme import Scheme

STORAGES: dict[str, type[Storage]] = {}  # by name; __init_subclass__ fills it
WEIGHT = "weight"  # the array that holds the weights themselves; all others are indices
FLOATS = ("float32", "float16")  # what weights may be held in


class Count(NamedTuple):
    """A size that the arrays themselves decide: ``factor`` times a number, ``plus`` something; the number
    called ``name`` is the same in all arrays of a weight."""

    name: str
    factor: int = 1
    plus: int = 0


class ArrayForm(NamedTuple):
    """What an array must look like: one of ``dtypes`` (numpy's names), and a size in each dimension."""

    dtypes: tuple[str, ...]
    sizes: tuple[int | Count, ...]


@dataclass(frozen=True)
class Packed:
    """A weight of ``shape`` in a ``storage``: its named ``arrays``, in the storage's order."""

    storage: Storage
    scheme: Scheme
    shape: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]

    def unpack(self) -> np.ndarray:
        """The dense float32 weight."""
        return self.storage.unpack(self)

    @property
    def bytes(self) -> int:
        """All arrays together."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def index_bytes(self) -> int:
        """All arrays but the weights."""
        return sum(array.nbytes for array in self.arrays.values() if array.dtype.kind != "f")

    @property
    def stored(self) -> int:
        """Weights that are stored, zeros that fill up included; none where nothing else is."""
        weights = [array for array in self.arrays.values() if array.dtype.kind == "f"]
        return sum(array.size for array in weights) if any(array.any() for array in weights) else 0


@dataclass(frozen=True)
class Storage(ABC):
    """Base of every storage; subclasses set ``name`` and register by it."""

    name: ClassVar[str]
    runs: ClassVar[bool] = True  # kernels read it; otherwise it is written for comparison only

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            STORAGES[cls.name] = cls

    @abstractmethod
    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        """One clause on why a weight of ``shape`` and ``scheme`` cannot be kept so; empty where it can."""

    @abstractmethod
    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        """The arrays of ``weight``; see ``pack``."""

    @abstractmethod
    def unpack(self, packed: Packed) -> np.ndarray:
        """The dense float32 weight: the exact inverse of ``pack``, whatever the order of the filters."""

    @abstractmethod
    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        """What the arrays of a weight of ``shape`` must look like, in their order."""

    def pack(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None = None) -> Packed:
        """``weight`` (float32, [F, C/groups, *kernel] or [M, K]), every nonzero of which ``scheme`` covers.

        ``order`` lists the filters as they are to be stored (None: the storage's own order). Raises
        ``EspalierError`` where the weight cannot be kept so.
        """
        complaint = self.why_not(scheme, weight.shape)
        if complaint:
            raise EspalierError(f"storage {self.name}: {complaint}")
        return Packed(self, scheme, tuple(weight.shape), self.arrays(weight, scheme, order))

    def complaint(self, scheme: Scheme, shape: Sequence[int],
                  found: Mapping[str, tuple[str, Sequence[int]]]) -> str:
        """What is wrong with arrays ``found`` (dtype and shape by name), in one clause, if anything."""
        return self.why_not(scheme, shape) or _mismatch(self.forms(scheme, shape), found)


def _mismatch(forms: Mapping[str, ArrayForm], found: Mapping[str, tuple[str, Sequence[int]]]) -> str:
    """The first array that has not its form."""
    if list(forms) != list(found):
        return f"expected storage arrays {', '.join(forms)}, found {', '.join(found) or 'none'}"
    known: dict[str, int] = {}
    for name, form in forms.items():
        dtype, shape = found[name]
        fits = len(shape) == len(form.sizes) and all(
            _fits(size, actual, known) for size, actual in zip(form.sizes, shape, strict=True))
        if dtype not in form.dtypes or not fits:
            wanted = " x ".join(_size_text(size, known) for size in form.sizes)
            return (f"expected storage array '{name}' of {wanted} {' or '.join(form.dtypes)}, "
                    f"found {' x '.join(map(str, shape))} {dtype}")
    return ""


def _fits(size: int | Count, actual: int, known: dict[str, int]) -> bool:
    """Whether ``actual`` is the ``size``; a number that is new becomes ``known``."""
    if isinstance(size, int):
        return actual == size
    count, rest = divmod(actual - size.plus, size.factor)
    return rest == 0 and count >= 0 and known.setdefault(size.name, count) == count


def _size_text(size: int | Count, known: Mapping[str, int]) -> str:
    """A size as a number where it is known: ``2 * groups + 1``."""
    if isinstance(size, int):
        return str(size)
    if size.name in known:
        return str(known[size.name] * size.factor + size.plus)
    factor = "" if size.factor == 1 else f"{size.factor} * "
    return f"{factor}{size.name}{f' + {size.plus}' if size.plus else ''}"


def checked_order(order: np.ndarray | None, filters: int) -> np.ndarray:
    """``order`` as an index array, or the identity; raises ``EspalierError`` unless it is a permutation."""
    if order is None:
        return np.arange(filters)
    order = np.asarray(order, np.intp)
    if order.shape != (filters,) or not np.array_equal(np.sort(order), np.arange(filters)):
        raise EspalierError(f"expected a permutation of {filters} filters, found {order.size} entries")
    return order


def as_u16(values: np.ndarray) -> np.ndarray:
    """Numbers below 65536 as i16 that hold uint16 bits (MLIR's integers here are signless)."""
    return values.astype(np.uint16).view(np.int16)


def from_u16(values: np.ndarray) -> np.ndarray:
    """Indices of i16 that hold uint16 bits, or of wider integers as they are."""
    values = np.ascontiguousarray(values)
    return (values.view(np.uint16) if values.dtype == np.int16 else values).astype(np.intp)
