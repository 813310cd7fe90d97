"""Code that sorts one row: by insertion where few places count, else by digits (LSD radix sort).

    values 3 1 2, places 0 1 2   ->   values 1 2 3, places 1 2 0

Numbers become keys, unsigned integers of the same order, as PyTorch orders them: NaN is the largest, 0 and -0
are equal, and equal numbers keep their order. A descending order is that of the keys' complements. If only
the first ``first`` places are wanted, what is behind them is left as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

DIGIT = 8  # bits that a pass sorts by
LEADING = 11  # bits by which numbers are told that cannot be among the first
FEW = 32  # places up to which insertion is quicker, also in the worst case
BLOCK = 32  # numbers that are looked at together: mostly none of them is among the first


@dataclass(frozen=True)
class Row:
    """What rows of ``size`` numbers look like: ``element`` is their type, ``values`` and ``places`` the types
    of the buffers that hold all rows and ``strides`` the distances of a row's numbers in both."""

    element: str
    values: str
    places: str
    strides: tuple[int, int]
    size: int
    first: int
    descending: bool

    @property
    def by_insertion(self) -> bool:
        return self.first <= FEW

    @property
    def passes_over(self) -> bool:
        """Whether blocks of numbers are passed over that the last of the first ones keeps out."""
        return self.element == "f32" and self.strides[0] == 1 and self.size >= 4 * BLOCK

    @cached_property
    def key_bits(self) -> int:
        return 64 if self.element in ("f64", "i64") else 32

    @property
    def scratch(self) -> tuple[tuple[str, int], ...]:
        """Element type and length of the buffers that sorting one row needs."""
        key = f"i{self.key_bits}"
        if self.by_insertion:
            return ((key, self.first),)
        return ((key, 2 * self.size), ("i32", 2 * self.size), (self.element, self.size), ("i64", self.size),
                ("i32", 1 << LEADING))

    def function(self, name: str) -> str:
        """The text of a function that sorts the row of ``%values`` and ``%places`` which begin at given
        offsets."""
        scratch = ", ".join(f"%s{at}: {scratch_type(kind)}" for at, (kind, _) in enumerate(self.scratch))
        body = self._insertion() if self.by_insertion else _DIGITS
        constants = "".join(f"  %c{n} = arith.constant {n} : index\n" for n in sorted(
            {0, 1, BLOCK, self.size, self.size // BLOCK * BLOCK, self.first, 1 << DIGIT, 1 << LEADING,
             self.key_bits, DIGIT}))
        text = f"""
func.func private @{name}(%all_values: {self.values}, %at_value: index, %all_places: {self.places},
                          %at_place: index, {scratch}) {{
{constants}
  %values = memref.reinterpret_cast %all_values to offset: [%at_value], sizes: [{self.size}],
    strides: [{self.strides[0]}] : {self.values} to {self._row(self.element, self.strides[0])}
  %places = memref.reinterpret_cast %all_places to offset: [%at_place], sizes: [{self.size}],
    strides: [{self.strides[1]}] : {self.places} to {self._row("i64", self.strides[1])}
{body}
  return
}}
"""
        known = {
            "KEY_OF_VALUE": self._key(), "BIN_OF_KEY": _BIN_OF_KEY, "COUNT_BIN": _COUNT_BIN,
            "VALUES": self._row(self.element, self.strides[0]),
            "PLACES": self._row("i64", self.strides[1]), "ELEMENT": self.element,
            "FIRST": f"%c{self.first}", "SIZE": f"%c{self.size}", "BITS": f"%c{self.key_bits}",
            "DIGIT": f"%c{DIGIT}", "BINS": f"%c{1 << DIGIT}", "LEADS": f"%c{1 << LEADING}",
            "MASK": str((1 << DIGIT) - 1), "SHIFT": str(self.key_bits - LEADING),
            "BLOCK": f"%c{BLOCK}", "WHOLE": f"%c{self.size // BLOCK * BLOCK}",
            "VECTOR": f"vector<{BLOCK}x{self.element}>", "TRUTHS": f"vector<{BLOCK}xi1>",
            "ENTERS": "ugt" if self.descending else "ult", "LIMIT": str(self.first),
            "KEYS": scratch_type(f"i{self.key_bits}"),
            "KEY": f"i{self.key_bits}", "INTS": scratch_type("i32"), "OLDS": scratch_type(self.element),
            "LONGS": scratch_type("i64")}
        for word, meaning in known.items():
            text = text.replace(f"${word}", meaning)
        return text

    def _insertion(self) -> str:
        """One number after the other; after the first block only those of blocks that hold a better one."""
        if not self.passes_over:
            return _each("%c0", "$SIZE")
        return _each("%c0", "$BLOCK") + _PASSING_OVER.replace("$EACH", _each("%block", "%end_of_block")) + (
            _each("$WHOLE", "$SIZE"))

    def _row(self, element: str, stride: int) -> str:
        return f"memref<{self.size}x{element}, strided<[{stride}], offset: ?>>"

    def _key(self) -> str:
        """``%key`` of ``%value``."""
        bits, element = self.key_bits, self.element
        lines = []
        if element.startswith("f"):
            wide = f"f{bits}"
            number = "%value" if element == wide else "%wide"
            if element != wide:
                lines.append(f"%wide = arith.extf %value : {element} to {wide}")
            lines += [f"%zero = arith.constant 0.0 : {wide}",
                      f"%plus = arith.addf {number}, %zero : {wide}",
                      f"%bits = arith.bitcast %plus : {wide} to i{bits}",
                      f"%last = arith.constant {bits - 1} : i{bits}",
                      f"%sign = arith.constant {-(1 << (bits - 1))} : i{bits}",
                      f"%all = arith.constant -1 : i{bits}",
                      f"%negative = arith.shrsi %bits, %last : i{bits}",
                      f"%flips = arith.ori %negative, %sign : i{bits}",
                      f"%ordered = arith.xori %bits, %flips : i{bits}",
                      f"%is_nan = arith.cmpf uno, {number}, {number} : {wide}",
                      f"%up = arith.select %is_nan, %all, %ordered : i{bits}"]
        else:
            extend = "extui" if element == "i1" else "extsi"
            number = "%value" if element == f"i{bits}" else "%wide"
            if element != f"i{bits}":
                lines.append(f"%wide = arith.{extend} %value : {element} to i{bits}")
            lines += [f"%sign = arith.constant {-(1 << (bits - 1))} : i{bits}",
                      f"%all = arith.constant -1 : i{bits}",
                      f"%up = arith.xori {number}, %sign : i{bits}"]
        turn = f"arith.xori %up, %all : i{bits}" if self.descending else (
            f"arith.ori %up, %up : i{bits}")
        return "\n".join([*lines, f"%key = {turn}"])


def scratch_type(element: str) -> str:
    """The type of a row's part of a scratch buffer."""
    return f"memref<?x{element}, strided<[1], offset: ?>>"


def _each(begin: str, end: str) -> str:
    """Inserts the numbers from ``begin`` to ``end``."""
    return _INSERTION.replace("$BEGIN", begin).replace("$END", end)


# NaN is among the largest: what does not compare may enter.
_PASSING_OVER = """
  %worst_place = arith.subi $FIRST, %c1 : index
  scf.for %block = $BLOCK to $WHOLE step $BLOCK {
    %numbers = vector.load %values[%block] : $VALUES, $VECTOR
    %last_number = memref.load %values[%worst_place] : $VALUES
    %lasts = vector.broadcast %last_number : $ELEMENT to $VECTOR
    %may_enter = arith.cmpf $ENTERS, %numbers, %lasts : $VECTOR
    %any = vector.reduction <or>, %may_enter : $TRUTHS into i1
    scf.if %any {
      %end_of_block = arith.addi %block, $BLOCK : index
      $EACH
    }
  }
"""

# The first $FIRST numbers so far stand in order at the row's beginning, their keys in %s0.
_INSERTION = """
  scf.for %i = $BEGIN to $END step %c1 {
    %value = memref.load %values[%i] : $VALUES
    $KEY_OF_VALUE
    %place = memref.load %places[%i] : $PLACES
    %filling = arith.cmpi slt, %i, $FIRST : index
    %end = arith.subi $FIRST, %c1 : index
    %worst = memref.load %s0[%end] : $KEYS
    %better = arith.cmpi ult, %key, %worst : $KEY
    %enters = arith.ori %filling, %better : i1
    scf.if %enters {
      %from = arith.minsi %i, %end : index
      %hole = scf.while (%j = %from) : (index) -> index {
        %inside = arith.cmpi sgt, %j, %c0 : index
        %before = arith.subi %j, %c1 : index
        %safe = arith.maxsi %before, %c0 : index
        %other = memref.load %s0[%safe] : $KEYS
        %larger = arith.cmpi ugt, %other, %key : $KEY
        %moves = arith.andi %inside, %larger : i1
        scf.condition(%moves) %j : index
      } do {
      ^bb0(%j: index):
        %before = arith.subi %j, %c1 : index
        %other = memref.load %s0[%before] : $KEYS
        memref.store %other, %s0[%j] : $KEYS
        %other_value = memref.load %values[%before] : $VALUES
        memref.store %other_value, %values[%j] : $VALUES
        %other_place = memref.load %places[%before] : $PLACES
        memref.store %other_place, %places[%j] : $PLACES
        scf.yield %before : index
      }
      memref.store %key, %s0[%hole] : $KEYS
      memref.store %value, %values[%hole] : $VALUES
      memref.store %place, %places[%hole] : $PLACES
    }
  }
"""

# The key at %i of those being sorted, and the bin of its digit.
_BIN_OF_KEY = """%at = arith.addi %source, %i : index
      %key = memref.load %s0[%at] : $KEYS
      %low = arith.shrui %key, %shift_key : $KEY
      %digit = arith.andi %low, %mask : $KEY
      %bin = arith.index_castui %digit : $KEY to index"""

# One more in %bin, which %count were in before.
_COUNT_BIN = """%count = memref.load %s4[%bin] : $INTS
      %more = arith.addi %count, %one : i32
      memref.store %more, %s4[%bin] : $INTS"""

# %s0: keys, and room for as many; %s1: where each comes from; %s2, %s3: values and places as they were;
# %s4: how often each digit occurs. First those go that cannot be among the first $FIRST.
_DIGITS = """
  %none = arith.constant 0 : i32
  %one = arith.constant 1 : i32
  %limit = arith.constant $LIMIT : i32
  %shift_leading = arith.constant $SHIFT : $KEY
  %mask = arith.constant $MASK : $KEY
  scf.for %i = %c0 to $LEADS step %c1 {
    memref.store %none, %s4[%i] : $INTS
  }
  scf.for %i = %c0 to $SIZE step %c1 {
    %value = memref.load %values[%i] : $VALUES
    $KEY_OF_VALUE
    memref.store %key, %s0[%i] : $KEYS
    memref.store %value, %s2[%i] : $OLDS
    %place = memref.load %places[%i] : $PLACES
    memref.store %place, %s3[%i] : $LONGS
    %leading = arith.shrui %key, %shift_leading : $KEY
    %bin = arith.index_castui %leading : $KEY to index
    $COUNT_BIN
  }
  %last, %sum = scf.while (%bin = %c0, %before = %none) : (index, i32) -> (index, i32) {
    %count = memref.load %s4[%bin] : $INTS
    %so_far = arith.addi %before, %count : i32
    %open = arith.cmpi ult, %so_far, %limit : i32
    scf.condition(%open) %bin, %so_far : index, i32
  } do {
  ^bb0(%bin: index, %so_far: i32):
    %next = arith.addi %bin, %c1 : index
    scf.yield %next, %so_far : index, i32
  }
  %kept = scf.for %i = %c0 to $SIZE step %c1 iter_args(%m = %c0) -> index {
    %key = memref.load %s0[%i] : $KEYS
    %from = arith.index_cast %i : index to i32
    memref.store %key, %s0[%m] : $KEYS
    memref.store %from, %s1[%m] : $INTS
    %leading = arith.shrui %key, %shift_leading : $KEY
    %bin = arith.index_castui %leading : $KEY to index
    %stays = arith.cmpi ule, %bin, %last : index
    %step = arith.extui %stays : i1 to i32
    %step_index = arith.index_cast %step : i32 to index
    %next = arith.addi %m, %step_index : index
    scf.yield %next : index
  }
  %a, %b = scf.for %shift = %c0 to $BITS step $DIGIT iter_args(%source = %c0, %target = $SIZE)
      -> (index, index) {
    %shift_key = arith.index_cast %shift : index to $KEY
    scf.for %i = %c0 to $BINS step %c1 {
      memref.store %none, %s4[%i] : $INTS
    }
    scf.for %i = %c0 to %kept step %c1 {
      $BIN_OF_KEY
      $COUNT_BIN
    }
    %total = scf.for %i = %c0 to $BINS step %c1 iter_args(%begin = %none) -> i32 {
      %count = memref.load %s4[%i] : $INTS
      memref.store %begin, %s4[%i] : $INTS
      %next = arith.addi %begin, %count : i32
      scf.yield %next : i32
    }
    scf.for %i = %c0 to %kept step %c1 {
      $BIN_OF_KEY
      $COUNT_BIN
      %from = memref.load %s1[%at] : $INTS
      %offset = arith.index_castui %count : i32 to index
      %to = arith.addi %target, %offset : index
      memref.store %key, %s0[%to] : $KEYS
      memref.store %from, %s1[%to] : $INTS
    }
    scf.yield %target, %source : index, index
  }
  scf.for %i = %c0 to $FIRST step %c1 {
    %at = arith.addi %a, %i : index
    %from = memref.load %s1[%at] : $INTS
    %from_index = arith.index_castui %from : i32 to index
    %value = memref.load %s2[%from_index] : $OLDS
    memref.store %value, %values[%i] : $VALUES
    %place = memref.load %s3[%from_index] : $LONGS
    memref.store %place, %places[%i] : $PLACES
  }
"""

__all__ = ["Row", "scratch_type"]
