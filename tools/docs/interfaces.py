"""The reference of the three interfaces: command line, Python and C.

The command line's comes from its own parser, so that no option can be missing; C's from ``espalier.h``,
where every function stands below its comment; Python's is left to mkdocstrings.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import typer

from ... import __all__ as public_names
from ..espalier import app

HEADER = Path(__file__).parents[2] / "runtime" / "c" / "espalier.h"
# A comment, and the declarations below it up to an empty line.
_DOCUMENTED = re.compile(r"/\* (?P<words>(?:(?!\*/).)*?)\*/\n(?P<code>(?:ESPALIER_API[^;]*;[^\n]*\n)+)",
                         re.DOTALL)
_FUNCTION = re.compile(r"\b(espalier_\w+)\(")


def cli_page() -> str:
    """Every subcommand with its arguments and options."""
    parts = ["# Command line\n\nA failure is one line on stderr; the exit code is 1 for bad input, "
             "2 for options that do not exist, 130 after Ctrl-C.\n"]
    group: Any = typer.main.get_command(app)
    for name in group.commands:
        command = group.commands[name]
        words = inspect.cleandoc(command.callback.__doc__ or command.help or "")
        parts.append(f"\n## espalier {name}\n\n{words}\n")
        parts.append("\n| argument or option | default | what |\n|---|---|---|\n")
        parts += [_row(parameter) for parameter in command.params if parameter.name != "help"]
    return "".join(parts)


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    absent = parameter.default in (None, False, ()) or callable(parameter.default)
    default = "" if absent else f"`{parameter.default}`"
    words = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {names} | {default} | {words} |\n"


def python_page() -> str:
    """The public names; mkdocstrings writes what they say."""
    parts = ["# Python\n\n`import espalier` loads neither PyTorch nor MLIR; names do on their first use.\n"]
    parts += [f"\n::: espalier.{name}\n" for name in public_names if not name.startswith("__")]
    return "".join(parts)


def c_page() -> str:
    """Every function of ``espalier.h`` with its comment; types and status codes in the header itself."""
    text = HEADER.read_text()
    parts = [f"# C\n\n```c\n{_comment(text)}\n```\n"]
    for match in _DOCUMENTED.finditer(text):
        code = match["code"].replace("ESPALIER_API ", "").strip()
        names = ", ".join(dict.fromkeys(_FUNCTION.findall(code)))
        words = re.sub(r"\n +", "\n", match["words"]).strip()
        parts.append(f"\n## {names}\n\n```c\n{code}\n```\n\n{words}\n")
    parts.append(f"\n## The header\n\n```c\n{text}```\n")
    return "".join(parts)


def _comment(text: str) -> str:
    """The comment at the top of the header."""
    return text[:text.index("*/") + 2]
