"""Runs a compiled model's code on the host: the machine code that the file brings for this processor
(``machine_code.py``), or else its LLVM-dialect bytecode, compiled by MLIR's ExecutionEngine.

Of the compiler it needs the bindings alone, and these only to compile. All threads run the same function
(see ``distribute_work.py``): the caller alone, or a team in C (``team.py``), which is made when a run first
asks for several threads.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ...entry import DIGEST, SIZES, SYMBOL, TURN_WORDS, digest_of
from ...errors import EspalierError
from ...files import temporary_folder
from ..abi import check_declared
from ..memory import zeroed
from ..states import States
from ..tensors import address_of
from .fork import renew_after_fork
from .machine_code import Library, declared_here, described, linked
from .team import Team, cores, fast_cores, why_no_team

if TYPE_CHECKING:
    from ...sparse_dialect.ir.mlir import ir

OPTIMIZATION = 3
_PACKED = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # takes pointers to the entry's arguments


class JitExecutor:
    """One model's code with its arena; calls are serialised, an instance serves one run at a time."""

    def __init__(self, code: bytes, weights: np.ndarray, manifest: Mapping[str, Any], native: bytes = b"",
                 native_for: bytes = b"", states: Sequence[np.ndarray] = ()) -> None:
        """``code``: bytecode of a module in the LLVM dialect, with all that ``sparse-export-entry`` writes;
        ``weights``: u8; ``manifest``: of the model file, of which ``sizes``, ``messages``, ``labels``,
        ``inputs`` and ``outputs`` count; ``native``, ``native_for``: what ``machine_code`` gave on some
        processor, or nothing; ``states``: initial values. Raises ``EspalierError`` where the manifest says
        something else than the code, or weights are not those that the code was compiled with."""
        known = _loaded(native, native_for, manifest) if native else None
        made: tuple[Any, int, dict[str, Any]] = known or _compile(code, manifest)
        self._code, self._address, self._declared = made
        self._order = self._declared["arguments"]
        self._function = _PACKED(self._address)
        self._weights, self._sizes = weights, dict(manifest["sizes"])
        self._messages: list[str] = list(manifest["messages"])
        if weights.nbytes != self._sizes["weights"]:
            raise EspalierError(f"the model is damaged: expected {self._sizes['weights']} bytes of weights, "
                                f"found {weights.nbytes}; compile it again")
        if digest_of(weights.data) != self._declared["digest"]:
            raise EspalierError("the model's weights are not those that its code was compiled with; "
                                "compile it again")
        shapes = [spec["shape"] for spec in (*manifest["inputs"], *manifest["outputs"])]
        self._free = [(tensor, axis) for tensor, shape in enumerate(shapes)
                      for axis, size in enumerate(shape) if size < 0]
        self._failures = np.zeros(1, np.int32)
        self._arena = zeroed(self._sizes["arena"])
        self._turn = np.zeros(TURN_WORDS, np.int64)
        self._stamps = np.zeros(max(self._sizes["stamps"], 1), np.int64)
        self._scratch = zeroed(max(self._sizes["scratch"], 16) * 4).view(np.float32)
        self._team: Team | None = None
        self._states = States(states)
        self._at = self._places(len(manifest["inputs"]), len(manifest["outputs"]))
        self._given = (*self._at["inputs"], *self._at["outputs"])
        self._lengths = (ctypes.c_int64 * len(self._free))()
        self.bind()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def machine_code(self, model: str) -> tuple[bytes, bytes]:
        """The code as a library of this processor, and its description, for the file of the fingerprint
        ``model`` to bring; nothing where it came from a file, or there is no linker."""
        if isinstance(self._code, Library):
            return b"", b""
        with temporary_folder("espalier-native-") as folder:
            path = folder / "model.o"
            self._code.dump_to_object_file(str(path))
            library = linked(path)
        return (library, described(self._declared, model)) if library else (b"", b"")

    def after_fork(self) -> None:
        """In the child of a fork, which has none of the parent's other threads: a new team is made when it is
        needed, and nobody holds the lock."""
        self._team = None
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], threads: int) -> np.ndarray:
        """Fills ``outputs``; returns the cycle counter noted behind every statement, i64 [stamps]. States go
        on when the run ends well.

        More ``threads`` than processors are as many as processors, 0 one a fast processor. Raises
        ``EspalierError`` when an assertion of the model fails, such as an index out of range, or the system
        gives no threads.
        """
        if threads != 1:
            threads = 1 if self._sizes.get("sequential") else min(threads or fast_cores(), cores())
        if threads > 1 and (reason := why_no_team()):
            warnings.warn(f"the model runs on one thread: {reason}", stacklevel=2)
            threads = 1
        with self._lock:
            tensors = (*inputs, *self._states.now, *outputs, *self._states.next)
            if self._free:
                self._grow(tensors)
            self._run(map(address_of, tensors), threads)
            self._states.advance()
            return self._stamps.copy()

    def run_at(self, addresses: Sequence[int]) -> None:
        """A run on one thread, of a model without free sizes and states; ``addresses`` of its inputs, then of
        its outputs, row-major. Raises as ``run``."""
        with self._lock:
            self._run(addresses, 1)

    def _run(self, addresses: Iterable[int], threads: int) -> None:
        self._failures[0] = 0
        for place, address in zip(self._given, addresses, strict=True):
            self._buffers[place] = address
        if threads == 1:
            self._function(self._alone)
        else:
            self._team_of(threads).run(threads, self._buffers, self._lengths)
        if self._failures[0]:
            raise EspalierError(f"the model stopped: {self._messages[self._failures[0] - 1]}")

    def reset(self) -> None:
        """States are what they were at first."""
        with self._lock:
            self._states.reset()

    def states(self) -> list[np.ndarray]:
        """Copies of the states."""
        with self._lock:
            return self._states.copies()

    def put_states(self, values: Sequence[np.ndarray]) -> None:
        """The next run starts from ``values``, of the right shapes and dtypes."""
        with self._lock:
            self._states.put(values)

    def wake_seconds(self) -> float | None:
        """Seconds from the beginning of the last run on several threads until the second one claimed work."""
        return self._team.wake_seconds() if self._team is not None else None

    def bind(self) -> None:
        """Puts the executor's own buffers among those of the entry (``entry.py``), once: a run adds its
        tensors."""
        own = {"scratch": self._scratch, "weights": self._weights, "failures": self._failures,
               "turn": self._turn, "stamps": self._stamps, "arena": self._arena}
        self._buffers = (ctypes.c_void_p * sum(map(len, self._at.values())))()
        for name, places in self._at.items():
            if name in own:
                self._buffers[places[0]] = own[name].ctypes.data
        pointers = [ctypes.c_void_p(ctypes.addressof(held)) for held in (self._buffers, self._lengths)]
        self._values = (*pointers, ctypes.c_int64(0), ctypes.c_int64(1))  # the one thread, of one
        self._alone = (ctypes.c_void_p * 4)(*map(ctypes.addressof, self._values))

    def _places(self, inputs: int, outputs: int) -> dict[str, range]:
        """Which of the entry's buffers have which name."""
        counts = {"inputs": inputs, "outputs": outputs}
        sizes = [counts.get(name, 1) for name in self._order]
        return {name: range(end - size, end)
                for name, size, end in zip(self._order, sizes, accumulate(sizes), strict=True)}

    def _team_of(self, threads: int) -> Team:
        """A team of at least ``threads`` threads."""
        if self._team is None or self._team.threads < threads:
            self._team = Team(self._address, threads, buffers=len(self._buffers),
                              scratch=self._at["scratch"][0], turn=self._at["turn"][0],
                              sizes=len(self._free), scratch_bytes=self._scratch.nbytes)
        return self._team

    def _grow(self, tensors: Sequence[np.ndarray]) -> None:
        """The lengths of ``tensors``, and an arena for their time steps."""
        for number, (at, axis) in enumerate(self._free):
            self._lengths[number] = tensors[at].shape[axis]
        needed = self._sizes["arena"] + self._lengths[0] * self._sizes.get("arena_per_step", 0)
        if needed > self._arena.size:
            self._arena = zeroed(needed)
            self.bind()

    def __del__(self) -> None:
        """The team's threads end before the code and its memory go."""
        self._team = None


def declared(module: ir.Operation) -> dict[str, Any]:
    """What compiled code says of itself: the module's ``espalier.<name>`` attributes, without the prefix."""
    from ...sparse_dialect.ir.mlir import ir

    attributes = module.attributes
    numbers = {name: ir.IntegerAttr(attributes[f"espalier.{name}"]).value for name in SIZES
               if f"espalier.{name}" in attributes}
    lists = {name: [ir.StringAttr(text).value for text in ir.ArrayAttr(attributes[f"espalier.{name}"])]
             for name in ("arguments", "input_types", "output_types", "labels", "messages")
             if f"espalier.{name}" in attributes}
    digest = ir.StringAttr(attributes[DIGEST]).value if DIGEST in attributes else digest_of(b"")
    return {**numbers, **lists, "digest": digest}


def _loaded(native: bytes, native_for: bytes,
            manifest: Mapping[str, Any]) -> tuple[Library, int, dict[str, Any]] | None:
    """As ``_compile``, without compiling; None where this processor or system does not take the library."""
    says = declared_here(native_for)
    if says is None:
        return None
    check_declared(says, manifest)
    try:
        library = Library(native)
        return library, library.address(f"_mlir_{SYMBOL}"), says
    except (OSError, AttributeError):
        return None


def _compile(code: bytes, manifest: Mapping[str, Any]) -> tuple[Any, int, dict[str, Any]]:
    """The engine that owns the compiled code, the address of its packed entry, and what the code says."""
    from ...sparse_dialect.ir.mlir import bindings, ir

    context = ir.Context()
    context.enable_multithreading(False)
    try:
        with context, ir.Location.unknown():
            module = ir.Module.parse(code)
            says = declared(module.operation)
            check_declared(says, manifest)
            engine = bindings("execution_engine").ExecutionEngine(module, opt_level=OPTIMIZATION,
                                                                  enable_pic=True)
            address = engine.raw_lookup(SYMBOL)
            if not address:
                raise RuntimeError(f"no function {SYMBOL}")
            return engine, address, says
    except (ir.MLIRError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise EspalierError(f"the model's code does not load ({reason}); compile it again") from error
