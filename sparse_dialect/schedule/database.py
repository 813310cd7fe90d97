"""What a tuner found: one SQLite file of trials, and of the schedules that were confirmed to be faster.

    entry   (layer, device, threads, compiler) -> schedule, how much faster        what compilation uses
    trial   the same, and objective, schedule, state, ratio, features              what a search goes on from

A *layer* is a key (``dialect/layer_keys.py``): shape, stride, scheme and mask class, and of entries for
tiles also the lane grids around it. Trials that were measured together, and entries that were confirmed
together, are one transaction: a process that is killed loses nothing that was finished.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...files import check_readable
from ..errors import EspalierError
from .database_file import PATIENCE_S, TABLES, VERSION, connect, fault, set_aside
from .generator import code_generator
from .schedule import Schedule

COLUMNS = ("layer", "device", "threads", "compiler", "schedule", "ratio", "network", "date")


@dataclass(frozen=True)
class Place:
    """Where a measurement holds: the ``device``, on so many ``threads``, for code of this ``compiler``
    (``generator.py``)."""

    device: str
    threads: int = 1
    compiler: str = field(default_factory=code_generator)


@dataclass(frozen=True)
class Trial:
    """
    One schedule of a layer that was tried. ``state``: ok, or crash, hang, wrong or impossible, with a
    ``reason``. ``ratio``: its cost over the default's in the same run; ``cost`` in the objective's unit.
    """

    layer: str
    schedule: Schedule
    state: str
    ratio: float | None = None
    cost: float | None = None
    objective: str = "time"
    features: Mapping[str, float] = field(default_factory=dict)
    network: str = ""
    reason: str = ""


class Database:
    """The tuner's file, opened to write. Use it in a ``with`` block, or ``close`` it."""

    def __init__(self, path: Path) -> None:
        """Opens ``path``, or makes it. A file that is damaged or of another version is set aside, with a
        warning; raises ``EspalierError`` where a file cannot be made there, or a pipe or a device lies."""
        self.path = path
        check_readable(path)
        try:
            reason = fault(path) if path.exists() else ""
            if reason:
                aside = set_aside(path)
                warnings.warn(f"the tuner's database '{path}' {reason}: it is set aside as '{aside.name}', "
                              "and a new one is begun", stacklevel=2)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
        except (sqlite3.Error, OSError) as error:
            raise EspalierError(f"cannot write the tuner's database '{path}': {error}") from error
        with self._transaction():
            if not self._connection.execute("PRAGMA user_version").fetchone()[0]:
                for statement in TABLES.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """What is written in the block is written whole or not at all; ``EspalierError`` where it cannot."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise EspalierError(f"cannot write the tuner's database '{self.path}': {error}") from error

    def add_trials(self, trials: Iterable[Trial], place: Place) -> None:
        """Keeps ``trials``, all or none."""
        rows = [(t.layer, place.device, place.threads, place.compiler, t.objective, text_of(t.schedule),
                 t.state, t.ratio, t.cost, json.dumps(dict(t.features)), t.network, t.reason, _now())
                for t in trials]
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO trial (layer, device, threads, compiler, objective, schedule, state, ratio, "
                "cost, features, network, reason, date) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)

    def trials(self, place: Place, layer: str | None = None, objective: str = "time") -> list[Trial]:
        """What was tried there, the first first; of one ``layer``, or of all."""
        found = self._connection.execute(
            "SELECT layer, schedule, state, ratio, cost, objective, features, network, reason FROM trial "
            "WHERE device = ? AND threads = ? AND compiler = ? AND objective = ? "
            "AND (? IS NULL OR layer = ?) ORDER BY number",
            (place.device, place.threads, place.compiler, objective, layer, layer))
        trials = []
        for layer, schedule, state, ratio, cost, objective, features, network, reason in found:
            with suppress(ValueError, TypeError):  # a schedule that this compiler does not know
                trials.append(Trial(layer, schedule_from(schedule), state, ratio, cost, objective,
                                    json.loads(features), network, reason))
        return trials

    def log(self, device: str, objective: str = "time") -> list[Trial]:
        """All trials on ``device``, whatever compiled them: what a cost model learns from."""
        places = self._connection.execute("SELECT DISTINCT threads, compiler FROM trial WHERE device = ?",
                                          (device,)).fetchall()
        return [trial for threads, compiler in places
                for trial in self.trials(Place(device, threads, compiler), objective=objective)]

    def confirm(self, schedules: Mapping[str, tuple[Schedule, float]], place: Place, network: str) -> None:
        """Keeps ``schedules``, by layer, each with its share of the default's time: what compilation uses
        from now on. All or none: they were confirmed together."""
        rows = [(layer, place.device, place.threads, place.compiler, text_of(schedule), ratio, network,
                 _now()) for layer, (schedule, ratio) in schedules.items()]
        with self._transaction():
            self._put(rows)

    def _put(self, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO entry ({', '.join(COLUMNS)}) VALUES (?,?,?,?,?,?,?,?)", rows)

    def exported(self) -> list[dict[str, Any]]:
        """All entries, for ``--export``."""
        rows = self._connection.execute(f"SELECT {', '.join(COLUMNS)} FROM entry ORDER BY device, layer")
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]

    def take(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Adds ``entries`` of ``exported`` that are better than what is known; how many were. Raises
        ``EspalierError`` for what is no entry."""
        rows = []
        for number, entry in enumerate(entries):
            try:
                row = tuple(entry[name] for name in COLUMNS)
                schedule_from(row[4])
                known = self._connection.execute(
                    "SELECT ratio FROM entry WHERE layer = ? AND device = ? AND threads = ? AND compiler = ?",
                    row[:4]).fetchone()
                if known is None or float(row[5]) < known[0]:
                    rows.append(row)
            except (KeyError, TypeError, ValueError, sqlite3.Error) as error:
                raise EspalierError(f"entry {number} is no schedule that was found: {error}") from error
        with self._transaction():
            self._put(rows)
        return len(rows)


def confirmed(path: Path, place: Place) -> dict[str, Schedule]:
    """The schedules that ``path`` knows for ``place``, by layer. An entry that is no schedule, and a file
    that is damaged, of another version or cannot be read, are passed over with a warning, and left as they
    are; ``EspalierError`` where there is no file."""
    if not path.is_file():
        raise EspalierError(f"there is no database '{path}'; espalier tune makes one")
    rows: list[tuple[str, str]] = []
    try:
        reason = fault(path)
        if not reason:
            connection = connect(path)
            try:
                rows = connection.execute(
                    "SELECT layer, schedule FROM entry WHERE device = ? AND threads = ? AND compiler = ?",
                    (place.device, place.threads, place.compiler)).fetchall()
            finally:
                connection.close()
    except sqlite3.Error as error:
        reason = f"cannot be read ({error})"
    if reason:
        warnings.warn(f"the tuner's database '{path}' {reason}: compiling without it; espalier tune sets it "
                      "aside and begins a new one", stacklevel=2)
    found = {}
    for layer, text in rows:
        try:
            found[layer] = schedule_from(text)
        except (ValueError, TypeError) as error:
            pass_over(layer, str(error))
    return found


def pass_over(layer: str, reason: str) -> None:
    """Notes that the entry for ``layer`` is not used."""
    warnings.warn(f"the tuner's entry for '{layer}' is passed over, the default stands: {reason}",
                  stacklevel=3)


def text_of(schedule: Schedule) -> str:
    """``schedule`` as JSON: the fields that are decided."""
    return json.dumps({name: value for name, value in asdict(schedule).items() if value is not None},
                      sort_keys=True)


def schedule_from(text: str) -> Schedule:
    """The schedule that ``text_of`` wrote; ``ValueError`` or ``TypeError`` for anything else."""
    known = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError(f"expected the fields of a schedule, found {text!r:.80}")
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    schedule = Schedule(**known)
    complaint = _type_complaint(schedule) or schedule.complaint()
    if complaint is not None:
        raise ValueError(complaint)
    return schedule


def _type_complaint(schedule: Schedule) -> str | None:
    """Which field has a value that its type does not allow; JSON may hold anything."""
    for field_ in fields(schedule):
        kind, value = str(field_.type), getattr(schedule, field_.name)
        parts = value if kind.startswith("tuple") and isinstance(value, tuple) else (value,)
        wanted = bool if kind.startswith("bool") else str if kind.startswith("str") else int
        if value is not None and (any(type(part) is not wanted for part in parts)
                                  or kind.startswith("tuple") != isinstance(value, tuple)):
            return f"expected {field_.name} of type {kind.removesuffix(' | None')}, found {value!r}"
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
