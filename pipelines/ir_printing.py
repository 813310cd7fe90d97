"""``--mlir-print-ir-*``: the IR before or after passes, under MLIR's banners, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from ..sparse_dialect.passes import PassContext
from .instrument import Instrument, Step

ALL = "*"


class IRPrinting(Instrument):
    """
    Prints the operation that a pass runs on.

    ``before`` and ``after`` are sets of pass names (``ALL`` for every pass); ``only_changed`` skips prints
    after passes that changed nothing; ``module_scope`` prints the whole module; ``flags`` go to ``get_asm``.
    """

    each_pass = True

    def __init__(self, before: frozenset[str] = frozenset(), after: frozenset[str] = frozenset(), *,
                 only_changed: bool = False, module_scope: bool = False,
                 flags: Mapping[str, Any] | None = None, stream: TextIO | None = None) -> None:
        self._before, self._after = before, after
        self._only_changed, self._module_scope = only_changed, module_scope
        self._flags, self._stream = dict(flags or {}), stream
        self._text = ""

    def before(self, step: Step) -> None:
        if self._only_changed:
            self._text = step.op.get_asm(**self._flags)
        if self._before & {ALL, step.name}:
            self._print("Before", step)

    def after(self, step: Step, context: PassContext) -> None:
        if not self._after & {ALL, step.name}:
            return
        if self._only_changed and self._text == step.op.get_asm(**self._flags):
            return
        self._print("After", step)

    def failed(self, step: Step, error: BaseException) -> None:
        if self._after & {ALL, step.name}:  # the IR may be invalid by now: generic form prints any
            self._print("After", step, " Failed", generic=True)

    def _print(self, when: str, step: Step, suffix: str = "", generic: bool = False) -> None:
        op = step.op
        symbol = f": @{op.attributes['sym_name'].value}" if "sym_name" in op.attributes else ""
        banner = f"// -----// IR Dump {when} {step.name}{suffix} ('{op.name}' operation{symbol}) //----- //"
        while self._module_scope and op.parent is not None:
            op = op.parent.operation
        text = op.get_asm(**(self._flags | ({"print_generic_op_form": True} if generic else {})))
        print(f"{banner}\n{text}\n", file=self._stream or sys.stderr, flush=True)
