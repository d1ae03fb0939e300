"""The queue of writers. A second program that takes the same lock of the file is the other side."""

import fcntl
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from hub.db.session import Database
from hub.db.writers import WriterQueue
from hub.errors import DatabaseUnavailable

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process whose turn it is until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def is_free(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_one_after_the_other(tmp_path: Path) -> None:
    """Two queues on one file are as two processes: flock belongs to the open file."""
    queues = [WriterQueue(tmp_path / "turn") for _ in range(2)]
    inside = most = 0

    def write(number: int) -> None:
        nonlocal inside, most
        queue = queues[number % 2]
        queue.enter()
        inside += 1
        most = max(most, inside)
        inside -= 1
        queue.leave()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert most == 1
    assert is_free(tmp_path / "turn")


def test_who_waits_is_woken_when_another_process_is_done(tmp_path: Path) -> None:
    queue, came = WriterQueue(tmp_path / "turn"), threading.Event()

    def wait() -> None:
        queue.enter()
        came.set()
        queue.leave()

    with other_process(tmp_path / "turn") as holder:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not came.wait(0.1)
        assert holder.stdin is not None
        holder.stdin.close()
        assert came.wait(20)
        waiting.join()


def test_the_turn_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    queue = WriterQueue(tmp_path / "turn")
    with other_process(tmp_path / "turn") as holder:
        holder.kill()
        queue.enter(20)
        queue.leave()


def test_who_gave_up_does_not_keep_the_turn_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    queue = WriterQueue(path)
    with other_process(path), pytest.raises(sqlite3.OperationalError, match="locked"):
        queue.enter(0.05)
    for thread in threading.enumerate():
        if thread.name == "database-turn":
            thread.join(20)
    assert is_free(path)
    queue.enter(1)
    assert not is_free(path)
    queue.leave()


def test_a_thread_that_waits_for_another_one_gives_up_in_time(tmp_path: Path) -> None:
    queue = WriterQueue(tmp_path / "turn")
    queue.enter()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        queue.enter(0.02)
    queue.leave()


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    queue = WriterQueue(tmp_path / "absent" / "turn")
    for _ in range(2):  # the second one is not kept out by the first
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            queue.enter(1)


class TestTransactions:
    def turn(self, database: Database) -> Path:
        return Path(f"{database.engine.url.database}-writers")

    def test_a_transaction_has_the_turn_until_it_ends(self, sqlite_database: Database) -> None:
        with sqlite_database.transaction() as session:
            assert session.scalar(sa.text("SELECT 1")) == 1
            assert not is_free(self.turn(sqlite_database))
        assert is_free(self.turn(sqlite_database))

    def test_one_that_is_rolled_back_gives_it_back(self, sqlite_database: Database) -> None:
        with suppress(ValueError), sqlite_database.transaction() as session:
            session.execute(sa.text("SELECT 1"))
            raise ValueError
        assert is_free(self.turn(sqlite_database))

    def test_one_whose_commit_fails_gives_it_back(self, sqlite_database: Database) -> None:
        """A foreign key that is checked at the commit."""
        with sqlite_database.transaction() as session:
            session.execute(sa.text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
            session.execute(
                sa.text("CREATE TABLE b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)")
            )
        with pytest.raises(sa.exc.IntegrityError), sqlite_database.transaction() as session:
            session.execute(sa.text("INSERT INTO b VALUES (7)"))
        assert is_free(self.turn(sqlite_database))

    def test_a_program_that_knows_no_queue_is_kept_out_by_the_database(
        self, sqlite_database: Database
    ) -> None:
        stranger = sqlite3.connect(str(sqlite_database.engine.url.database), timeout=0)
        with sqlite_database.transaction() as session:
            session.execute(sa.text("SELECT 1"))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                stranger.execute("BEGIN IMMEDIATE")
        stranger.close()

    def test_no_turn_in_time_is_a_database_that_does_not_answer(
        self, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(WriterQueue.enter, "__defaults__", (0.05,))
        with (
            other_process(self.turn(sqlite_database)),
            pytest.raises(DatabaseUnavailable),
            sqlite_database.transaction() as session,
        ):
            session.execute(sa.text("SELECT 1"))

    def test_reading_takes_no_turn(self, sqlite_database: Database) -> None:
        with other_process(self.turn(sqlite_database)), sqlite_database.reading() as session:
            assert session.scalar(sa.text("SELECT 1")) == 1
