"""The tuner's database: what goes in comes out, and no state of the file stops a tuner or a compiler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from espalier.errors import EspalierError
from espalier.sparse_dialect.schedule import database, database_file
from espalier.sparse_dialect.schedule.database import Database, Place, Trial, confirmed, schedule_from
from espalier.sparse_dialect.schedule.schedule import Schedule

PLACE = Place("a CPU", 1, "1.0")
FAST = Schedule(channel_block=64, tile=(1, 2, 7), prefetch=True)


def test_what_was_confirmed_is_found_on_the_same_device_threads_and_compiler(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tuned.sqlite"
    with Database(path) as kept:
        kept.confirm({"a layer": (FAST, 0.8)}, PLACE, "network")
    assert confirmed(path, PLACE) == {"a layer": FAST}
    for other in (Place("another", 1, "1.0"), Place("a CPU", 2, "1.0"), Place("a CPU", 1, "2.0")):
        assert confirmed(path, other) == {}


def test_trials_come_back_in_their_order(tmp_path: Path) -> None:
    trials = [Trial("a", FAST, "ok", 0.9, 1e-3), Trial("b", Schedule(), "crash", reason="killed"),
              Trial("a", Schedule(passes=2), "ok", 1.1, 2e-3)]
    with Database(tmp_path / "t") as kept:
        kept.add_trials(trials, PLACE)
        assert kept.trials(PLACE) == trials
        assert kept.trials(PLACE, "a") == [trials[0], trials[2]]
        assert kept.trials(PLACE, objective="instructions") == []


def _damage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _other_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _lose_a_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE entry")
    connection.close()


@pytest.mark.parametrize("spoil", [_damage, _truncate, _other_version, _lose_a_table])
def test_a_file_that_cannot_be_used_is_set_aside_or_passed_over(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "tuned.sqlite"
    with Database(path) as kept:
        kept.confirm({"a layer": (FAST, 0.8)}, PLACE, "network")
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=r"tuned.sqlite' is .*compiling without it"):
        assert confirmed(path, PLACE) == {}
    assert path.read_bytes() == before  # a compiler changes nothing
    with pytest.warns(UserWarning, match=r"set aside as 'tuned.sqlite.aside-1'"):
        opened = Database(path)
    with opened as kept:
        assert kept.exported() == []
        kept.confirm({"a layer": (FAST, 0.8)}, PLACE, "network")
    assert (tmp_path / "tuned.sqlite.aside-1").read_bytes() == before
    assert confirmed(path, PLACE) == {"a layer": FAST}


def test_a_file_that_is_not_there_is_an_error_for_a_compiler(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match="espalier tune makes one"):
        confirmed(tmp_path / "none", PLACE)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EspalierError, match="cannot write the tuner's database"):
        Database(tmp_path / "file" / "tuned.sqlite")


def test_a_pipe_is_no_database(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EspalierError, match="expected a file, found a pipe or a device"):
        Database(tmp_path / "pipe")


def test_only_better_entries_are_taken(tmp_path: Path) -> None:
    with Database(tmp_path / "a") as mine, Database(tmp_path / "b") as theirs:
        mine.confirm({"x": (FAST, 0.8), "y": (FAST, 0.9)}, PLACE, "net")
        theirs.confirm({"x": (Schedule(passes=2), 0.7), "y": (Schedule(passes=2), 0.95)}, PLACE, "net")
        assert mine.take(theirs.exported()) == 1
    assert confirmed(tmp_path / "a", PLACE) == {"x": Schedule(passes=2), "y": FAST}


@pytest.mark.parametrize("entry", [
    {}, {"layer": "x"}, 7,
    {"layer": "x", "device": "d", "threads": 1, "compiler": "1", "schedule": '{"tile": "big"}', "ratio": 0.5,
     "network": "n", "date": "d"},
    {"layer": "x", "device": "d", "threads": 1, "compiler": "1", "schedule": "{}", "ratio": "fast",
     "network": "n", "date": "d"}])
def test_what_is_no_entry_is_refused_and_nothing_taken(tmp_path: Path, entry: object) -> None:
    with Database(tmp_path / "a") as kept:
        kept.confirm({"x": (FAST, 0.8)}, Place("d", 1, "1"), "net")
        good = {**kept.exported()[0], "layer": "other"}
        with pytest.raises(EspalierError, match="entry 1 is no schedule"):
            kept.take([good, entry])  # type: ignore[list-item]
        assert len(kept.exported()) == 1


@pytest.mark.parametrize("text", ["", "[]", "7", '{"speed": 9}', '{"micro_kernel": "magic"}',
                                  '{"tile": [0]}', '{"tile": [1.5]}', '{"channel_block": 1.5}',
                                  '{"channel_block": true}', '{"prefetch": 1}', '{"grid": 4}',
                                  '{"filter_order": ["a"]}', '{"channel_block": "8"}'])
def test_texts_that_are_no_schedule(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        schedule_from(text)


def test_a_process_that_was_killed_while_it_wrote_loses_only_that(tmp_path: Path) -> None:
    """The journal that it left is rolled back, by whoever comes first, and goes aside with its file."""
    path, copy = tmp_path / "tuned.sqlite", tmp_path / "100% copy?.sqlite"
    with Database(path) as kept:
        kept.add_trials([Trial("layer", FAST, "ok", 1.0)] * 2000, PLACE)
        kept.confirm({"a layer": (FAST, 0.8)}, PLACE, "network")
    writing = sqlite3.connect(path, isolation_level=None)
    writing.execute("PRAGMA cache_size = 2")  # so that the file itself is changed before the end
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("UPDATE trial SET state = 'crash', reason = 'a text that takes more room than before'")
    for end in ("", "-journal"):
        Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    writing.execute("ROLLBACK")
    writing.close()
    aside = copy.with_name("aside.sqlite")
    for end in ("", "-journal"):
        Path(f"{aside}{end}").write_bytes(Path(f"{copy}{end}").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confirmed(copy, PLACE) == {"a layer": FAST}
        with Database(aside) as kept:
            assert {trial.state for trial in kept.trials(PLACE)} == {"ok"}


def test_a_journal_goes_aside_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "tuned.sqlite"
    for end in ("", "-journal"):
        Path(f"{path}{end}").write_text(end)
    (tmp_path / "tuned.sqlite.aside-1").write_text("")
    assert database_file.set_aside(path).name == "tuned.sqlite.aside-2"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "tuned.sqlite.aside-1": "", "tuned.sqlite.aside-2": "", "tuned.sqlite.aside-2-journal": "-journal"}


def test_an_entry_that_is_no_schedule_is_passed_over_alone(tmp_path: Path) -> None:
    path = tmp_path / "tuned.sqlite"
    with Database(path) as kept:
        kept.confirm({"good": (FAST, 0.8), "bad": (FAST, 0.8)}, PLACE, "network")
        kept.add_trials([Trial("good", FAST, "ok", 0.8), Trial("bad", FAST, "ok", 0.8)], PLACE)
    connection = sqlite3.connect(path)
    for table in ("entry", "trial"):
        connection.execute(f"UPDATE {table} SET schedule = '{{\"tile\": [1.5]}}' WHERE layer = 'bad'")
    connection.commit()
    connection.close()
    with pytest.warns(UserWarning, match="entry for 'bad' is passed over, the default stands: expected"):
        assert confirmed(path, PLACE) == {"good": FAST}
    with Database(path) as kept:
        assert [trial.layer for trial in kept.trials(PLACE)] == ["good"]


def test_a_file_that_another_process_holds_is_one_line(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuned.sqlite"
    Database(path).close()
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(database_file, "LOOK_S", 0.05)
    with pytest.raises(EspalierError, match=r"cannot write the tuner's database .*locked"):
        Database(path)
    with pytest.warns(UserWarning, match=r"cannot be read .*locked.*compiling without it"):
        assert confirmed(path, PLACE) == {}
    other.close()
    assert path.exists()


def _write_for_ever(path: Path, told: Connection) -> None:
    with Database(path) as kept:
        for number in range(10**6):
            kept.add_trials([Trial(f"layer {number}", FAST, "ok", 1.0)], PLACE)
            told.send(number)


def test_a_process_that_is_killed_loses_no_finished_trial(tmp_path: Path) -> None:
    path, context = tmp_path / "tuned.sqlite", multiprocessing.get_context("fork")
    finished = -1
    for turn in range(20):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_write_for_ever, args=(path, theirs))
        child.start()
        theirs.close()
        for _ in range(1 + 3 * turn):
            ours.recv()
            finished += 1
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        while ours.poll():  # told before it was killed
            try:
                ours.recv()
            except EOFError:
                break
            finished += 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing is set aside
            with Database(path) as kept:
                assert len(kept.trials(PLACE)) >= finished + 1
