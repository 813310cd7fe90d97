"""What compiled code takes: the arguments of its one exported function, written once, here.

The passes that add arguments (``sparse_dialect/lowering``) are checked against this list by
``sparse-export-entry``, which writes the buffers' order into the module; the JIT executor and the C runtime
fill them in by name, in the order that the code itself gives. It lies below every module, as ``errors`` does.

    void espalier_entry(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

SYMBOL = "espalier_entry"
TURN_WORDS = 13  # espalier_turn in runtime/c/team.h, of which code reads the first five


@dataclass(frozen=True)
class Argument:
    """
    One kind of argument.

    ``kind``: ``tensors`` (the caller's, as many as the model has), ``buffer`` (a memref of one dynamic size,
    the runtime's), or ``number`` (index). ``element``: of a buffer, in MLIR's spelling. ``size``: the entry
    of the manifest's ``sizes`` that says how large a buffer is, in units of ``unit`` bytes; empty where it
    is always ``unit`` bytes. ``per_thread``: each thread has its own; all others are one for all threads.
    """

    name: str
    kind: Literal["tensors", "buffer", "number"]
    element: str = ""
    size: str = ""
    unit: int = 1
    per_thread: bool = False


ARGUMENTS = (
    Argument("inputs", "tensors"),
    Argument("scratch", "buffer", "i8", "scratch", 4, per_thread=True),
    Argument("outputs", "tensors"),
    Argument("weights", "buffer", "i8", "weights"),
    Argument("failures", "buffer", "i32", unit=4),  # the number of the assertion that failed, or 0
    Argument("turn", "buffer", "i64", unit=8 * TURN_WORDS, per_thread=True),  # zero: alone
    Argument("stamps", "buffer", "i64", "stamps", 8),
    Argument("thread", "number", per_thread=True),
    Argument("threads", "number"),
    Argument("arena", "buffer", "i8", "arena"),  # and "arena_per_step" more bytes for each time step
)
# What stands in `buffers`, in this order.
BUFFERS = tuple(argument.name for argument in ARGUMENTS if argument.kind != "number")
# The module attribute that holds ``digest_of`` the weights.
DIGEST = "espalier.digest"
# What the code says of its needs, on its module as `espalier.<name>`; absent ones are 0.
SIZES = ("arena", "arena_per_step", "scratch", "stamps", "weights", "sequential")


def digest_of(weights: bytes | memoryview) -> str:
    """
    What code knows its weights by, 64 hexadecimal digits: BLAKE2b of 32 bytes (RFC 7693), also in
    ``runtime/c/digest.c``.

    Weights hold the index tables that code reads and writes by, so code runs with the weights that it was
    compiled with and no others. ``weights``: contiguous bytes.
    """
    return hashlib.blake2b(weights, digest_size=32).hexdigest()
