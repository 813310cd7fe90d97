"""The tuner's SQLite file as a file: opening it, what is wrong with it, and putting it aside.

SQLite keeps a journal beside a file while it is written (``tuned.sqlite-journal``). Where a process was
killed then, the next one that opens the file to write rolls back what was not finished; so readers open it to
write as well, where they may.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import EspalierError

VERSION = 1  # of the tables below
TABLES = """
CREATE TABLE entry (layer TEXT, device TEXT, threads INTEGER, compiler TEXT, schedule TEXT NOT NULL,
                    ratio REAL NOT NULL, network TEXT, date TEXT,
                    PRIMARY KEY (layer, device, threads, compiler));
CREATE TABLE trial (number INTEGER PRIMARY KEY, layer TEXT, device TEXT, threads INTEGER, compiler TEXT,
                    objective TEXT, schedule TEXT NOT NULL, state TEXT NOT NULL, ratio REAL, cost REAL,
                    features TEXT, network TEXT, reason TEXT, date TEXT);
CREATE INDEX trial_of ON trial (layer, device, threads, compiler, objective);
"""
NAMES = {"entry", "trial"}
BESIDE = ("", "-journal", "-wal", "-shm")  # what SQLite keeps with a file
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")  # beginnings of its errors' names
PATIENCE_S = 30.0  # of who writes, while another process does
LOOK_S = 5.0  # of who reads


def connect(path: Path) -> sqlite3.Connection:
    """The file at ``path``, which is there: to write, or only to read where it may not be written;
    ``sqlite3.Error`` where another process keeps it locked."""
    uri = path.absolute().as_uri()
    try:
        connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, isolation_level=None, timeout=LOOK_S)
        connection.execute("PRAGMA user_version")
        return connection
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise
        return sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, timeout=LOOK_S)


def fault(path: Path) -> str:
    """Why what ``path`` holds cannot be used; empty where it can. ``sqlite3.Error`` where the file may be
    whole, but cannot be read now."""
    try:
        connection = connect(path)
        try:
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                return "is damaged"
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if not str(getattr(error, "sqlite_errorname", "")).startswith(DAMAGED):
            raise
        return f"is damaged ({error})"
    if found != VERSION and tables:
        return f"is of version {found}, expected {VERSION}"
    return "" if not tables or NAMES <= tables else "is damaged (tables are missing)"


def set_aside(path: Path) -> Path:
    """Renames ``path``, and what SQLite keeps beside it, to names that are free; the file's new one."""
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.aside-{number}")
        if aside.exists():
            continue
        for end in reversed(BESIDE):  # a journal that stayed would be rolled back into the new file
            part = Path(f"{path}{end}")
            if part.exists():
                part.rename(f"{aside}{end}")
        return aside
    raise EspalierError(f"cannot set '{path}' aside: delete some of '{path.name}.aside-*'")
