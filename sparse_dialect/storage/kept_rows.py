"""A matrix of which whole rows and columns are cut, as the smaller dense matrix that is left.

Kept rows come first, the cut ones, of which only the bias is left, behind them; blocks of rows are those of
``dense.py``:

    row    [M]                                 i32   the row of each place; only where rows are cut
    column [K']                                i32   the kept columns; only where columns are cut
    weight [ceil(M' / (V * L)), K', V, L]      f32   the kept rows, then zeros to the end of the last block

Strays, where there are any, by the block of their place, of ceil(M / (V * L)):

    stray_start  [blocks + 1]                  i32   the first stray of each block
    stray_place  [strays]                      i32   its place in the block
    stray_column [strays]                      i32
    stray        [strays]                      f32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import EspalierError
from ..schemes.scheme import Scheme
from ..schemes.structured import Structured, kept_rows_and_columns, without_kept
from .dense import DENSE_VECTORS, DenseRows
from .storage import FLOATS, WEIGHT, ArrayForm, Packed, Storage


@dataclass(frozen=True)
class KeptRows(Storage):
    """``rows`` M' and ``columns`` K' that are kept, and ``strays`` elsewhere; ``vectors`` V of ``lanes`` L
    rows share a broadcast input."""

    lanes: int
    rows: int
    columns: int
    strays: int = 0
    vectors: int = DENSE_VECTORS
    name: ClassVar[str] = "kept_rows"

    @staticmethod
    def of(weight: np.ndarray, lanes: int) -> KeptRows:
        """What keeps ``weight`` [M, K]."""
        rows, columns = kept_rows_and_columns(weight)
        return KeptRows(lanes, len(rows), len(columns), int(np.count_nonzero(without_kept(weight))))

    def why_not(self, scheme: Scheme, shape: Sequence[int]) -> str:
        if not isinstance(scheme, Structured) or len(shape) != 2:
            return f"expected a matrix of which rows or columns are cut, found {scheme.name} {list(shape)}"
        if min(self.lanes, self.vectors) < 1:
            return f"expected lanes and vectors of 1 or more, found {self}"
        if not (1 <= self.rows <= shape[0] and 1 <= self.columns <= shape[1]):
            return f"expected 1 to {shape[0]} rows and 1 to {shape[1]} columns, found {self}"
        return ""

    def arrays(self, weight: np.ndarray, scheme: Scheme, order: np.ndarray | None) -> dict[str, np.ndarray]:
        if order is not None:
            raise EspalierError(f"storage {self.name} puts the rows in an order of its own")
        rows, columns = kept_rows_and_columns(weight)
        strays = without_kept(weight)
        if (len(rows), len(columns), np.count_nonzero(strays)) != (self.rows, self.columns, self.strays):
            raise EspalierError(f"storage {self.name} was made for {self.rows} rows and {self.columns} "
                                f"columns, found {len(rows)} and {len(columns)}")
        order_ = np.concatenate([rows, np.setdiff1d(np.arange(len(weight)), rows)])
        arrays = {} if len(rows) == len(weight) else {"row": order_.astype(np.int32)}
        if self.columns < weight.shape[1]:
            arrays["column"] = columns.astype(np.int32)
        if self.strays:
            arrays |= self._strays(strays[order_])
        return arrays | self._dense.arrays(weight[np.ix_(rows, columns)], scheme, None)

    def _strays(self, placed: np.ndarray) -> dict[str, np.ndarray]:
        """The strays of ``placed``, rows in the order in which they are stored."""
        place, column = np.nonzero(placed)
        block, place_in_block = np.divmod(place, self.vectors * self.lanes)
        counts = np.bincount(block, minlength=self.blocks(len(placed)))
        start = np.concatenate([[0], np.cumsum(counts)])
        return {"stray_start": start.astype(np.int32), "stray_place": place_in_block.astype(np.int32),
                "stray_column": column.astype(np.int32), "stray": placed[place, column]}

    def blocks(self, rows: int) -> int:
        """Blocks of ``rows`` rows, kept and cut."""
        return -(-rows // (self.vectors * self.lanes))

    def unpack(self, packed: Packed) -> np.ndarray:
        rows = packed.arrays.get("row", np.arange(self.rows))[: self.rows]
        columns = packed.arrays.get("column", np.arange(self.columns))
        left = Packed(self._dense, packed.scheme, (self.rows, self.columns), packed.arrays)
        weight = np.zeros(packed.shape, np.float32)
        weight[np.ix_(rows, columns)] = left.unpack()
        if self.strays:
            block = np.repeat(np.arange(self.blocks(len(weight))), np.diff(packed.arrays["stray_start"]))
            place = block * self.vectors * self.lanes + packed.arrays["stray_place"]
            row = packed.arrays.get("row", np.arange(len(weight)))[place]
            weight[row, packed.arrays["stray_column"]] = packed.arrays["stray"]
        return weight

    def forms(self, scheme: Scheme, shape: Sequence[int]) -> dict[str, ArrayForm]:
        forms = {} if self.rows == shape[0] else {"row": ArrayForm(("int32",), (shape[0],))}
        if self.columns < shape[1]:
            forms["column"] = ArrayForm(("int32",), (self.columns,))
        if self.strays:
            forms |= {"stray_start": ArrayForm(("int32",), (self.blocks(shape[0]) + 1,)),
                      "stray_place": ArrayForm(("int32",), (self.strays,)),
                      "stray_column": ArrayForm(("int32",), (self.strays,)),
                      "stray": ArrayForm(FLOATS, (self.strays,))}
        return forms | {WEIGHT: ArrayForm(FLOATS, self.sizes(shape))}

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """The sizes of ``weight``."""
        return self._dense.sizes((self.rows, self.columns))

    @property
    def _dense(self) -> DenseRows:
        return DenseRows(self.lanes, self.vectors)
