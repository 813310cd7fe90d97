"""The reproducer: the IR before a failing pass and the rest of the pipeline, in a file for espalier-opt.

    // espalier-opt reproducer: --allow-unregistered-dialect --pass-pipeline=builtin.module(test-refuse)

A file is data: its first line is obeyed under ``--run-reproducer`` alone, and names a pipeline and whether
unknown dialects are fine, never code to load or a file to write.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..files import replacing
from ..sparse_dialect.errors import EspalierError
from ..sparse_dialect.ir.mlir import ir
from .instrument import Instrument, Step
from .pipeline import Item, Nest

HEADER = "// espalier-opt reproducer: "
ALLOWED = ("--allow-unregistered-dialect",)
UPSTREAM = re.compile(r'mlir_reproducer\s*:\s*\{.*?pipeline\s*:\s*"((?:\\.|[^"\\])*)"', re.DOTALL)


class Reproducer(Instrument):
    """
    On failure writes ``path``; then ``written`` is set and ``failing`` names the pass, or ``problem`` is set.

    The IR is a clone taken before each top-level item of the pipeline (it shares the weights); when a run of
    upstream passes fails, the clone is stepped through it to the very pass. ``arguments`` are what the user
    must give again (plugins): they are no part of the file.
    """

    def __init__(self, path: Path, arguments: Sequence[str] = ()) -> None:
        self.path, self.written, self.problem, self.failing = path, False, "", ""
        self._arguments = arguments
        self._snapshot: ir.Operation | None = None
        self._remaining: tuple[Item, ...] = ()
        self._anchor = ""

    @property
    def command(self) -> str:
        """The command line that repeats the failure."""
        return shlex.join(["espalier-opt", str(self.path), "--run-reproducer", *self._arguments])

    def start(self, pipeline: Nest, root: ir.Operation) -> None:
        self._anchor = pipeline.anchor

    def before_item(self, remaining: tuple[Item, ...], root: ir.Operation) -> None:
        self._snapshot, self._remaining = root.clone().operation, remaining

    def failed(self, step: Step, error: BaseException) -> None:
        if self._snapshot is None or not isinstance(error, EspalierError):
            return
        if len(step.items) > 1:
            self._advance(len(step.items))
        self.failing = self._remaining[0].name if len(step.items) > 1 else step.name
        flags = ["--allow-unregistered-dialect"] if self._snapshot.context.allow_unregistered_dialects else []
        header = header_of(Nest(self._anchor, self._remaining), flags)
        try:
            with replacing(self.path) as file:
                file.write(f"{header}{self._snapshot}\n".encode())
            self.written = True
        except EspalierError as problem:
            self.problem = str(problem)

    def _advance(self, count: int) -> None:
        """Runs the snapshot, one item at a time, up to the item that fails among the first ``count``."""
        from .runner import Runner  # here: the runner knows instruments, not the other way round

        assert self._snapshot is not None  # failed() checked it
        mute = self._snapshot.context.attach_diagnostic_handler(lambda _: True)  # all reported already
        try:
            for _ in range(count - 1):
                ahead = self._snapshot.clone().operation
                Runner(Nest(self._anchor, self._remaining[:1])).run(ahead)
                self._snapshot, self._remaining = ahead, self._remaining[1:]
        except EspalierError:
            pass
        finally:
            mute.detach()


def header_of(pipeline: Nest, flags: Sequence[str] = ()) -> str:
    """The line before the IR that ``pipeline`` is to run on."""
    return f"{HEADER}{shlex.join([*flags, f'--pass-pipeline={pipeline}'])}\n"


def is_reproducer(text: str) -> bool:
    """Whether a file records a pipeline (ours, or upstream's metadata)."""
    return text.startswith(HEADER) or _upstream_pipeline(text) is not None


def recorded_arguments(text: str) -> list[str] | None:
    """The espalier-opt arguments in a reproducer's text, or None where it is none; ``EspalierError`` where it
    asks for anything but a pipeline and unknown dialects."""
    if not text.startswith(HEADER):
        pipeline = _upstream_pipeline(text)
        return None if pipeline is None else [f"--pass-pipeline={pipeline}"]
    try:
        words = shlex.split(text.split("\n", 1)[0].removeprefix(HEADER))
    except ValueError as error:
        raise EspalierError(f"the reproducer's first line is damaged: {error}") from error
    for word in words:
        if not word.startswith("--pass-pipeline=") and word not in ALLOWED:
            raise EspalierError(f"the reproducer asks for '{word}', which no file may; where it is wanted, "
                                f"give it on the command line")
    return words


def _upstream_pipeline(text: str) -> str | None:
    upstream = UPSTREAM.search(text[text.rfind("{-#") :]) if "mlir_reproducer" in text else None
    return None if upstream is None else upstream[1]
