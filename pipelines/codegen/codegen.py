"""LLVM-dialect code to an object, assembly or LLVM IR for another machine, by llvmlite.

An object exports one symbol, ``espalier_model_<name>`` (``espalier_code`` in ``runtime/c/espalier.h``): the
entry, and all that it needs, sizes, types and the order of its buffers. The runtime compares that with the
model file, which it does not believe. The fingerprint is in both, so that code and weights of two models are
never mixed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...entry import SYMBOL
from ...errors import EspalierError
from ...runtime.abi import MAX_RANK, SEQUENTIAL, VERSION, check_declared, type_of
from ...runtime.executors.jit import declared
from ...runtime.model_file import ModelFile
from ...sparse_dialect.devices.cores import CORES
from ...sparse_dialect.ir.mlir import ir
from ..target import Target
from . import processors
from .llvm_text import translate

# In the order of espalier_code's and espalier_type's fields.
_TYPE = f"{{ i32, i32, [{MAX_RANK} x i64] }}"
_DESCRIPTOR = """
@{symbol}.tensors = private constant [{count} x {type}] [{tensors}]
@{symbol}.buffers = private constant [{length} x i8] c"{buffers}\\00"
@{symbol} = constant {{ i32, i32, [32 x i8], [32 x i8], ptr, i64, i64, i64, i64, i64,
    i32, i32, i32, ptr, ptr }}
    {{ i32 {abi}, i32 {flags}, [32 x i8] c"{fingerprint}", [32 x i8] c"{digest}",
      ptr @{entry}, {sizes}, {counts}, ptr @{symbol}.tensors, ptr @{symbol}.buffers }}
"""
# On AArch64 programs may read the system counter, but not the cycle counter.
_COUNTER_CALL = "call i64 @llvm.read_volatile_register.i64(metadata !1000)"
_COUNTER = """
declare i64 @llvm.read_volatile_register.i64(metadata)
!1000 = !{!"cntvct_el0"}
"""


_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class TargetCode:
    """LLVM IR ``text`` optimised and compiled for ``target``, which names a triple."""

    text: str
    target: Target

    @cached_property
    def object(self) -> bytes:
        """A relocatable, position-independent ELF object."""
        with self._scheduling():
            return bytes(self._machine.emit_object(self._optimized))

    @property
    def assembly(self) -> str:
        with self._scheduling():
            return str(self._machine.emit_assembly(self._optimized))

    @property
    def llvm_ir(self) -> str:
        """The optimised LLVM IR."""
        return str(self._optimized)

    @contextmanager
    def _scheduling(self) -> Iterator[None]:
        """Keeps the order that ``sparse-schedule-loads`` gave: LLVM's scheduler would move loads up until
        accumulators spill. (A switch of the whole process, set
        only meanwhile, on one thread at a time.)"""
        kept = CORES[self.target.core].places_loads
        switch = processors.llvmlite().set_option
        with _ONE_AT_A_TIME:
            if kept:
                switch("espalier", "-enable-misched=0")
            try:
                yield
            finally:
                if kept:
                    switch("espalier", "-enable-misched=1")

    @cached_property
    def _machine(self) -> Any:
        return processors.machine(self.target.triple, self.target.cpu, self.target.features)

    @cached_property
    def _optimized(self) -> Any:
        """The whole module after LLVM's O3."""
        llvm = processors.llvmlite()
        module = llvm.parse_assembly(self._for_target())
        module.triple = self._machine.triple
        module.data_layout = str(self._machine.target_data)
        tuning = llvm.create_pipeline_tuning_options(3)
        tuning.slp_vectorization = tuning.loop_vectorization = tuning.loop_unrolling = True
        builder = llvm.create_pass_builder(self._machine, tuning)
        builder.getModulePassManager().run(module, builder)
        return module

    def _for_target(self) -> str:
        if not self.target.triple.startswith("aarch64"):
            return self.text
        return self.text.replace("call i64 @llvm.readcyclecounter()", _COUNTER_CALL) + _COUNTER


@dataclass(frozen=True)
class NativeCode:
    """
    ``file``'s code (bytecode of an LLVM-dialect module with the exported entry) compiled for ``target``.

    ``name`` is a C identifier, the tail of the exported symbol. Raises ``EspalierError`` for other names,
    the host's JIT target, modules that are not all LLVM dialect, and a manifest that does not fit the code.
    """

    file: ModelFile
    target: Target
    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", self.name, re.ASCII):
            raise EspalierError(f"'{self.name}' is no C identifier, so it cannot name the model's symbol")
        if not self.target.triple:
            raise EspalierError("the host's code is compiled when it is loaded; name a triple, such as "
                                f"{', '.join(processors.TRIPLES)}")

    @property
    def symbol(self) -> str:
        """The one symbol that the code exports."""
        return f"espalier_model_{self.name}"

    @cached_property
    def object(self) -> bytes:
        """A relocatable, position-independent ELF object."""
        return self._code.object

    @property
    def assembly(self) -> str:
        return self._code.assembly

    @property
    def llvm_ir(self) -> str:
        """The optimised LLVM IR."""
        return self._code.llvm_ir

    @cached_property
    def _code(self) -> TargetCode:
        return TargetCode(self._text(), self.target)

    def _text(self) -> str:
        """The module as LLVM IR text, with the descriptor as its one visible symbol."""
        with ir.Context() as context, ir.Location.unknown():
            context.enable_multithreading(False)
            module = ir.Module.parse(self.file.code).operation
            check_declared(declared(module), self.file.manifest)
            text = translate(module)
            says = declared(module)
        entry = f"define void @{SYMBOL}("
        if entry not in text:
            raise EspalierError(f"the code has no function {SYMBOL}; run sparse-export-entry")
        return text.replace(entry, f"define internal void @{SYMBOL}(") + self._descriptor(says)

    def _descriptor(self, says: Mapping[str, Any]) -> str:
        """The constant ``espalier_code``; ``says``: what the code's module declares."""
        manifest = self.file.manifest
        sizes = manifest["sizes"]
        counts = (len(manifest["inputs"]), len(manifest["outputs"]), len(manifest["messages"]))
        tensors = [_type_constant(spec) for spec in (*manifest["inputs"], *manifest["outputs"])]
        buffers = " ".join(says["arguments"])
        digest = re.sub("..", r"\\\g<0>", says["digest"])
        names = ("arena", "arena_per_step", "scratch", "stamps", "weights")
        return _DESCRIPTOR.format(
            symbol=self.symbol, abi=VERSION, flags=SEQUENTIAL * bool(sizes.get("sequential")),
            fingerprint=self.file.fingerprint, digest=digest, entry=SYMBOL, type=_TYPE, count=len(tensors),
            tensors=", ".join(tensors), length=len(buffers) + 1, buffers=buffers,
            sizes=", ".join(f"i64 {sizes.get(name, 0)}" for name in names),
            counts=", ".join(f"i32 {count}" for count in counts))


def _type_constant(spec: Mapping[str, Any]) -> str:
    """A tensor's ``espalier_type``."""
    dtype, rank, dimensions = type_of(spec)
    sizes = ", ".join(f"i64 {size}" for size in dimensions)
    return f"{_TYPE} {{ i32 {dtype}, i32 {rank}, [{MAX_RANK} x i64] [{sizes}] }}"
