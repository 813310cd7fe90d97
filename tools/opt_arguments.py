"""The arguments of espalier-opt: MLIR's spellings, with one flag a pass, in command-line order."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from ..pipelines import upstream
from ..pipelines.options import Option, options_of
from ..pipelines.parser import parse_items, parse_pipeline
from ..pipelines.pipeline import ROOT, Item, Nest
from ..pipelines.registry import default_registry, suggestion
from ..sparse_dialect.errors import EspalierError

FLAG = re.compile(r"-{1,2}([A-Za-z][\w-]*)(?:=(.*))?$", re.DOTALL)
SHORT = ("-h", "-o")
REPRODUCER = "espalier-reproducer.mlir"


@dataclass
class Arguments:
    """What the command line says; the field names are argparse's destinations."""

    input: str = "-"
    output: str = "-"
    pass_pipeline: str | None = None
    split_input_file: bool = False
    verify_diagnostics: bool = False
    allow_unregistered_dialect: bool = False
    verify_each: bool = True
    emit_bytecode: bool = False
    print_generic: bool = False
    print_debuginfo: bool = False
    print_local_scope: bool = False
    elide_elements: int | None = None
    elide_resources: int | None = None
    print_before_all: bool = False
    print_after_all: bool = False
    print_after_change: bool = False
    print_module_scope: bool = False
    plugins: list[str] = field(default_factory=list)
    print_before: list[str] = field(default_factory=list)
    print_after: list[str] = field(default_factory=list)
    timing: bool = False
    statistics: bool = False
    dump_pass_pipeline: bool = False
    reproducer: str = REPRODUCER
    run_reproducer: bool = False
    show_dialects: bool = False
    show_irdl: bool = False
    list_passes: bool = False
    version: bool = False
    debug: bool = False
    help: bool = False
    pass_flags: list[tuple[str, str]] = field(default_factory=list)

    @property
    def has_pipeline(self) -> bool:
        """Whether the command line names any pass."""
        return self.pass_pipeline is not None or bool(self.pass_flags)

    def pipeline(self) -> Nest:
        """The pipeline that the arguments spell."""
        if self.pass_pipeline is not None:
            if self.pass_flags:
                flag = self.pass_flags[0][0]
                raise EspalierError(f"give either --pass-pipeline or pass flags such as --{flag}, not both")
            return parse_pipeline(self.pass_pipeline)
        items: list[Item] = []
        for name, options in self.pass_flags:
            for item in _flag_items(name, options):
                last = items[-1] if items else None
                if isinstance(last, Nest) and isinstance(item, Nest) and last.anchor == item.anchor:
                    items[-1] = Nest(last.anchor, last.items + item.items)
                else:
                    items.append(item)
        return Nest(ROOT, tuple(items))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise EspalierError(f"{message}; see espalier-opt --help")


def _parser() -> _Parser:
    parser = _Parser(prog="espalier-opt", add_help=False, allow_abbrev=False,
                     usage="espalier-opt [FILE] [--pass-pipeline=TEXT | --PASS[=OPTIONS] ...] [options]",
                     formatter_class=lambda prog: argparse.HelpFormatter(prog, 24, 44, 120))
    add = parser.add_argument
    add("input", nargs="?", default="-", metavar="FILE", help="MLIR text or bytecode; - or nothing: stdin")
    add("-o", dest="output", default="-", metavar="FILE", help="where the result goes (default: stdout)")
    add("--pass-pipeline", metavar="TEXT", help="e.g. 'builtin.module(sparse-detect-schemes,func.func(cse))'")
    switches = {
        "--split-input-file": ("split_input_file", "handle the parts between '// -----' lines one by one"),
        "--verify-diagnostics": ("verify_diagnostics", "compare with expected-error {{...}} comments"),
        "--allow-unregistered-dialect": ("allow_unregistered_dialect", "accept unknown dialects"),
        "--emit-bytecode": ("emit_bytecode", "write MLIR bytecode"),
        "--mlir-print-op-generic": ("print_generic", "print the generic form"),
        "--mlir-print-debuginfo": ("print_debuginfo", "print locations"),
        "--mlir-print-local-scope": ("print_local_scope", "print without aliases"),
        "--mlir-print-ir-before-all": ("print_before_all", "print the IR before each pass, to stderr"),
        "--mlir-print-ir-after-all": ("print_after_all", "print the IR after each pass, to stderr"),
        "--mlir-print-ir-after-change": ("print_after_change", "print after passes that changed the IR"),
        "--mlir-print-ir-module-scope": ("print_module_scope", "print the whole module each time"),
        "--mlir-timing": ("timing", "report the time of each pass"),
        "--mlir-pass-statistics": ("statistics", "report what each pass counted"),
        "--dump-pass-pipeline": ("dump_pass_pipeline", "print the pipeline that will run, to stderr"),
        "--run-reproducer": ("run_reproducer", "run the pipeline that FILE records"),
        "--show-dialects": ("show_dialects", "list the dialects and exit"),
        "--show-irdl": ("show_irdl", "print the sparse dialect as IRDL, for mlir-opt --irdl-file, and exit"),
        "--list-passes": ("list_passes", "list our passes and pipelines and exit"),
        "--version": ("version", "print versions and exit"),
        "--debug": ("debug", "show Python tracebacks"),
    }
    for name, (dest, text) in switches.items():
        add(name, dest=dest, action="store_true", help=text)
    add("-h", "--help", dest="help", action="store_true", help="print this and exit")
    for name, dest in (("--mlir-print-ir-before", "print_before"), ("--mlir-print-ir-after", "print_after")):
        add(name, dest=dest, action="extend", type=lambda text: text.split(","), default=[],
            metavar="PASS,...", help=f"print the IR {dest.removeprefix('print_')} these passes, to stderr")
    add("--load-pass-plugin", dest="plugins", action="append", default=[], metavar="FILE.py",
        help="add the pass classes that a Python file defines")
    add("--mlir-elide-elementsattrs-if-larger", dest="elide_elements", type=int, metavar="N",
        help="print larger dense<...> constants as '...' (such a dump cannot be read back)")
    add("--mlir-elide-resource-strings-if-larger", dest="elide_resources", type=int, metavar="N",
        help="leave out weights whose text is longer (such a dump cannot be read back)")
    add("--verify-each", type=_boolean, default=True, metavar="BOOL",
        help="verify after each pass (default: true)")
    add("--mlir-pass-pipeline-crash-reproducer", dest="reproducer", default=REPRODUCER, metavar="FILE",
        help=f"where a failing pass's IR and remaining pipeline go (default: {REPRODUCER}; empty: nowhere)")
    return parser


def _boolean(text: str) -> bool:
    if text not in ("true", "1", "false", "0"):
        raise argparse.ArgumentTypeError(f"expected true or false, found '{text}'")
    return text in ("true", "1")


def parse_arguments(words: Sequence[str]) -> Arguments:
    """Reads the command line; raises ``EspalierError`` for unknown flags, with close names."""
    parser = _parser()
    own = {name: action for action in parser._actions for name in action.option_strings}
    rest, flags, position = [], [], 0
    while position < len(words):
        word = words[position]
        position += 1
        match = FLAG.match(word)
        if match is None or word in SHORT or (word.startswith("-o") and not word.startswith("-one")):
            rest.append(word)
            if word == "-o":
                rest += words[position : position + 1]
                position += 1
            continue
        name, value = f"--{match[1]}", match[2]
        if name not in own:
            flags.append((match[1], _unwrapped(value or "")))
            continue
        rest.append(name if value is None else f"{name}={value}")
        if value is None and own[name].nargs != 0:  # its value is the next word, whatever that looks like
            rest[-1:] = [f"{name}={words[position]}"] if position < len(words) else [name]
            position += 1
    return Arguments(**vars(parser.parse_args(rest)), pass_flags=flags)


def _unwrapped(options: str) -> str:
    return options[1:-1] if options.startswith("{") and options.endswith("}") else options


def _flag_items(name: str, options: str) -> tuple[Item, ...]:
    """The items of one pass flag, nested where the pass does not run on modules."""
    registry = default_registry()
    text = f"{name}{{{options}}}" if options else name
    if name in registry:
        anchor = registry.get(name).anchor
    elif name in registry.pipelines:
        anchor = ROOT
    else:
        try:
            upstream.check(ROOT, name, options)
            anchor = ROOT
        except upstream.WrongAnchor as error:
            anchor = error.anchor
        except upstream.UnknownUpstream:
            known = [*registry.names(), *registry.pipelines, *upstream.COMMON]
            known += [option.lstrip("-") for action in _parser()._actions for option in action.option_strings]
            raise EspalierError(f"unknown flag or pass --{name}{suggestion(name, known)}") from None
    if anchor in (ROOT, "any"):
        return parse_items(text, ROOT)
    return (Nest(anchor, parse_items(text, anchor)),)


def list_passes() -> str:
    """Our passes and named pipelines, one a line, each with the first line of its documentation."""
    registry = default_registry()
    rows = [(name, _first_line(_documentation(name)[0])) for name in registry.names()]
    rows += [(name, pipeline.doc) for name, pipeline in registry.pipelines.items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def help_text() -> str:
    """Usage, flags, then every pass with its documentation and options, and the named pipelines."""
    registry = default_registry()
    parts = [_parser().format_help(), "passes (upstream passes are flags and pipeline elements, too):\n"]
    for name in registry.names():
        doc, options = _documentation(name)
        parts.append(f"  --{name}")
        parts += [f"      {line.strip()}" for line in doc.strip().splitlines() if line.strip()]
        parts += [f"      {option.name}=<{option.type_text()}>  {option.help} (default: {option.default})"
                  for option in options]
    parts.append("\nnamed pipelines:\n")
    for name, pipeline in registry.pipelines.items():
        parts += [f"  --{name}", f"      {pipeline.doc}", f"      = {pipeline}"]
    return "\n".join(parts)


def _documentation(name: str) -> tuple[str, list[Option]]:
    """A pass's docstring and options; for one that cannot be loaded, the reason: the rest stays readable."""
    try:
        cls = default_registry().get(name)
    except EspalierError as error:
        return f"unavailable: {error}", []
    return cls.__doc__ or "", list(options_of(cls).values())


def _first_line(doc: str) -> str:
    return doc.strip().split("\n")[0]
