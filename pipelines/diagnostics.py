"""Diagnostics of a context as values, and the ``expected-error {{...}}`` comments to compare them with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..sparse_dialect.errors import PassError, location_text
from ..sparse_dialect.ir.mlir import ir

FILE_LOCATION = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):(\d+)')
EXPECTED = re.compile(r"expected-(error|note|remark|warning)(-re)?"
                      r" *(?:@([+-]\d+|above|below|unknown))? *\{\{(.*)\}\} *$")
CURRENT_OP = "see current operation"  # MLIR's note that dumps the whole operation


@dataclass(frozen=True)
class Diagnostic:
    """One message; ``line`` 0 means that the location is unknown, ``file`` ``-`` is the input."""

    severity: str
    message: str
    file: str = "-"
    line: int = 0
    column: int = 0

    def text(self, input_name: str) -> str:
        """``file:line:column: error: message`` on one line."""
        file = input_name if self.file == "-" else self.file
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.severity}: {' '.join(self.message.split())}"


def located(severity: str, message: str, location: str) -> Diagnostic:
    """A diagnostic at an MLIR location's text: its first file, line and column."""
    match = FILE_LOCATION.search(location)
    return Diagnostic(severity, message, match[1], int(match[2]), int(match[3])) if match else Diagnostic(
        severity, message)


class Collector:
    """Collects a context's diagnostics from creation to ``detach``, notes after what they belong to."""

    def __init__(self, context: ir.Context) -> None:
        self.diagnostics: list[Diagnostic] = []
        context.emit_error_diagnostics = True
        self._handler = context.attach_diagnostic_handler(self._take)

    def detach(self) -> None:
        """Stops collecting."""
        self._handler.detach()

    def add(self, error: Exception) -> None:
        """Adds ``error``, unless it only sums up errors already here (an ``MLIRError`` caused it)."""
        if isinstance(error.__cause__ or error, ir.MLIRError) and self.failed:
            return
        message = error.message if isinstance(error, PassError) else str(error)
        self.diagnostics.append(located("error", message, getattr(error, "location", "")))

    @property
    def failed(self) -> bool:
        """Whether an error was collected."""
        return any(d.severity == "error" for d in self.diagnostics)

    def _take(self, diagnostic: Any) -> bool:
        self.diagnostics.append(self._value(diagnostic))
        for note in diagnostic.notes:
            if not note.message.startswith(CURRENT_OP):
                self.diagnostics.append(self._value(note))
        return True

    @staticmethod
    def _value(diagnostic: Any) -> Diagnostic:
        severity = str(diagnostic.severity).rpartition(".")[2].lower()
        return located(severity, diagnostic.message, location_text(diagnostic.location))


@dataclass(frozen=True)
class Expectation:
    """An ``expected-...`` comment: where it stands and what it waits for."""

    severity: str
    pattern: re.Pattern[str]
    written: str
    at: int  # the comment's own line
    line: int  # the line that it speaks of; 0 for @unknown


def expectations(text: str) -> list[Expectation]:
    """The expectations in a source text; ``above`` and ``below`` skip over neighbouring expectation lines."""
    lines = text.split("\n")
    matches = {number: m for number, line in enumerate(lines, 1) if (m := EXPECTED.search(line))}
    found = []
    for number, match in matches.items():
        severity, regex, place, written = match.groups()
        line = number
        if place in ("above", "below"):
            step = 1 if place == "below" else -1
            line += step
            while line in matches:
                line += step
        elif place == "unknown":
            line = 0
        elif place:
            line += int(place)
        found.append(Expectation(severity, _pattern(written, bool(regex)), written, number, line))
    return found


def _pattern(written: str, regex: bool) -> re.Pattern[str]:
    """``written`` as a search pattern; with ``regex``, the parts in double braces are regular expressions."""
    if not regex:
        return re.compile(re.escape(written))
    parts = re.split(r"\{\{(.*?)\}\}", written)
    return re.compile("".join(part if index % 2 else re.escape(part) for index, part in enumerate(parts)))


def mismatches(text: str, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Errors for every diagnostic that no comment in ``text`` expects and every comment that none fulfils."""
    waiting = expectations(text)
    problems = []
    for found in diagnostics:
        fulfilled = next((e for e in waiting if e.severity == found.severity and e.line == found.line
                          and e.pattern.search(found.message)), None)
        if fulfilled is not None:
            waiting.remove(fulfilled)
        else:
            problems.append(Diagnostic("error", f"unexpected {found.severity}: {found.message}", found.file,
                                       found.line, found.column))
    problems += [Diagnostic("error", f'expected {e.severity} "{e.written}" was not produced', "-", e.at, 1)
                 for e in waiting]
    return sorted(problems, key=lambda d: d.line)
