"""What espalier-opt does: reads arguments; then, for each chunk of the input, parses, runs and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import printable
from ..files import replacing
from ..pipelines.diagnostics import Collector, Diagnostic, mismatches
from ..pipelines.extremes import check_extremes
from ..pipelines.instrument import Instrument
from ..pipelines.ir_printing import ALL, IRPrinting
from ..pipelines.pipeline import Nest
from ..pipelines.registry import default_registry
from ..pipelines.reproducer import Reproducer, is_reproducer, recorded_arguments
from ..pipelines.runner import Runner
from ..pipelines.statistics import Statistics
from ..pipelines.timing import Timing
from ..pipelines.upstream import reading_context
from ..sparse_dialect.dialect.dialect import irdl_text
from ..sparse_dialect.errors import EspalierError
from ..sparse_dialect.ir.mlir import ir
from ..sparse_dialect.ir.values import bytecode_of
from .opt_arguments import Arguments, help_text, list_passes, parse_arguments

SEPARATOR = "// -----"
STDIN = "-"


def run(words: Sequence[str]) -> int:
    """Does what the command line ``words`` says: 0, or 1 after its messages; ``EspalierError`` where it says
    nothing that can be done."""
    arguments = parse_arguments(words)
    _load_plugins(arguments)
    if information := _information(arguments):
        print(information)
        return 0
    source = _read(arguments.input)
    if arguments.run_reproducer:
        recorded = recorded_arguments(source) if isinstance(source, str) else None
        if recorded is None:
            raise EspalierError(f"{arguments.input} is no reproducer: its first line records no pipeline")
        arguments = parse_arguments([*recorded, "--mlir-pass-pipeline-crash-reproducer=", *words])
    elif isinstance(source, str) and is_reproducer(source) and not arguments.has_pipeline:
        print(f"espalier-opt: note: {_shown(arguments.input)} records a pipeline; --run-reproducer runs it",
              file=sys.stderr)
    pipeline = arguments.pipeline()
    if arguments.dump_pass_pipeline:
        print(f"Pass manager with {len(pipeline.items)} passes:\n{pipeline}", file=sys.stderr)
    context = reading_context()
    context.allow_unregistered_dialects = arguments.allow_unregistered_dialect
    chunks = _split(source) if arguments.split_input_file and isinstance(source, str) else [source]
    outputs = [_process(chunk, pipeline, arguments, context) for chunk in chunks]
    good = [output for output in outputs if output]
    failed = None in outputs
    if good and not (failed and arguments.output != STDIN):
        _write(arguments.output, f"{SEPARATOR}\n".encode().join(good))
    return int(failed)


def _load_plugins(arguments: Arguments) -> None:
    for plugin in arguments.plugins:
        default_registry().add_file(Path(plugin))


def _information(arguments: Arguments) -> str:
    """The text that a flag such as ``--help`` asks for instead of a run."""
    if arguments.help:
        return help_text()
    if arguments.version:
        from importlib.metadata import version
        return f"espalier-opt {version('espalier-compiler')}, MLIR from torch-mlir {version('torch-mlir')}"
    if arguments.list_passes:
        return list_passes()
    if arguments.show_dialects:
        return _dialects()
    return irdl_text() if arguments.show_irdl else ""


def _dialects() -> str:
    """The dialects that can be parsed: the bindings list them only in the note on an unknown one."""
    context = reading_context()
    collector = Collector(context)
    try:
        ir.Module.parse("no_such_dialect.op", context)
    except ir.MLIRError:
        pass
    note = next(d.message for d in collector.diagnostics if d.message.startswith("Available dialects: "))
    listed = note.removeprefix("Available dialects: ").split(" (* corresponding")[0]
    return "Available Dialects: " + listed.replace(" (*)", "")


def _read(path: str) -> str | bytes:
    """The input's text, or its bytes when it is MLIR bytecode."""
    try:
        data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise EspalierError(f"cannot read {path}: {error.strerror}") from error
    if data.startswith(b"ML\xefR"):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EspalierError(f"{_shown(path)} is neither MLIR text nor MLIR bytecode: byte {error.start} "
                            f"is no UTF-8") from error


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {error}; --debug shows where"


def _shown(path: str) -> str:
    return "<stdin>" if path == STDIN else path


def _split(source: str) -> list[str]:
    """The chunks between ``// -----`` lines, each led by empty lines that keep its line numbers."""
    chunks: list[str] = []
    current: list[str] = []
    start = 0
    for number, line in enumerate(source.split("\n")):
        if line.startswith(SEPARATOR):
            chunks.append("\n" * start + "\n".join(current) + "\n")
            current, start = [], number + 1
        else:
            current.append(line)
    return [*chunks, "\n" * start + "\n".join(current)]


def _process(chunk: str | bytes, pipeline: Nest, arguments: Arguments, context: ir.Context) -> bytes | None:
    """One chunk parsed, run, printed; None (after its messages) on failure, empty on an expected one."""
    collector = Collector(context)
    keep = arguments.reproducer and not arguments.verify_diagnostics
    reproducer = Reproducer(Path(arguments.reproducer), _plugin_flags(arguments)) if keep else None
    output = b""
    try:
        with context:
            module = ir.Module.parse(chunk)
            check_extremes(module.operation)
            Runner(pipeline, _instruments(arguments, reproducer), arguments.verify_each).run(module.operation)
            output = _printed(module.operation, arguments)
    except (EspalierError, ir.MLIRError) as error:
        if arguments.debug:
            raise
        collector.add(error)
    except Exception as error:  # a Python verifier met an operation too malformed to look at
        if arguments.debug:
            raise
        collector.add(EspalierError(f"malformed operation: {_summary(error)}"))
    finally:
        collector.detach()
    if arguments.verify_diagnostics:
        problems = mismatches(chunk if isinstance(chunk, str) else "", collector.diagnostics)
        _report(problems, arguments)
        return None if problems else output
    _report(collector.diagnostics, arguments)
    if reproducer is not None and reproducer.written:
        print(f"espalier-opt: note: pass '{reproducer.failing}' failed; "
              f"'{reproducer.command}' repeats it", file=sys.stderr)
    elif reproducer is not None and reproducer.problem:
        print(f"espalier-opt: warning: no reproducer: {reproducer.problem}", file=sys.stderr)
    return None if collector.failed else output


def _report(diagnostics: Sequence[Diagnostic], arguments: Arguments) -> None:
    for diagnostic in diagnostics:
        print(printable(diagnostic.text(_shown(arguments.input))), file=sys.stderr)


def _instruments(arguments: Arguments, reproducer: Reproducer | None) -> list[Instrument]:
    found: list[Instrument] = [reproducer] if reproducer is not None else []
    before = {*arguments.print_before, *([ALL] if arguments.print_before_all else [])}
    every = arguments.print_after_all or arguments.print_after_change
    after = {*arguments.print_after, *([ALL] if every else [])}
    if before or after:
        found.append(IRPrinting(
            frozenset(before), frozenset(after), only_changed=arguments.print_after_change,
            module_scope=arguments.print_module_scope, flags=_print_flags(arguments)))
    if arguments.statistics:
        found.append(Statistics())
    if arguments.timing:
        found.append(Timing())
    return found


def _plugin_flags(arguments: Arguments) -> list[str]:
    return [f"--load-pass-plugin={Path(plugin).resolve()}" for plugin in arguments.plugins]


def _print_flags(arguments: Arguments) -> dict[str, Any]:
    return {"print_generic_op_form": arguments.print_generic, "enable_debug_info": arguments.print_debuginfo,
            "use_local_scope": arguments.print_local_scope, "large_elements_limit": arguments.elide_elements,
            "large_resource_limit": arguments.elide_resources}


def _printed(op: ir.Operation, arguments: Arguments) -> bytes:
    if arguments.emit_bytecode:
        return bytecode_of(op)
    text: str = op.get_asm(**_print_flags(arguments))
    return text.encode() + (b"" if text.endswith("\n") else b"\n")


def _write(path: str, data: bytes) -> None:
    if path == STDIN:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        with replacing(path) as file:
            file.write(data)
