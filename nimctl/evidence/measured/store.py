"""The file that keeps evidence: one SQLite database that several processes may use at once.

It has a plain rollback journal and no write-ahead log: it is written a few times a day and in one
short transaction, while a log would leave two more files beside it, would have to be written to be
read, and does not work on the network file systems that home folders lie on.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from nimctl.core.percentiles import Percentiles
from nimctl.errors import InputError
from nimctl.evidence.measured.concessions import ConcessionRecord
from nimctl.evidence.measured.records import BenchRecord, MemoryRecord, StartRecord, Subject

_SUBJECT = """
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix_s REAL NOT NULL,
    nimctl_version TEXT NOT NULL,
    model TEXT NOT NULL,
    profile_id TEXT NOT NULL,
    profile TEXT NOT NULL,
    engine TEXT NOT NULL,
    engine_version TEXT,
    fingerprint TEXT NOT NULL,
    device TEXT NOT NULL CHECK (device IN ('gpu', 'cpu')),
    device_name TEXT NOT NULL,
    threads INTEGER NOT NULL,
    driver TEXT,
    context_length INTEGER NOT NULL,
    sequences INTEGER NOT NULL,
    kv_precision TEXT
"""
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"""CREATE TABLE bench ({_SUBJECT},
            concurrency INTEGER NOT NULL,
            prompt_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            duration_s REAL NOT NULL,
            tokens_per_second REAL NOT NULL,
            time_to_first_token TEXT NOT NULL,
            inter_token_latency TEXT,
            user_tokens_per_second TEXT)""",
        f"""CREATE TABLE memory ({_SUBJECT},
            part TEXT NOT NULL,
            predicted_bytes INTEGER NOT NULL,
            actual_bytes INTEGER NOT NULL)""",
    ),
    (f"CREATE TABLE start ({_SUBJECT}, phases_s TEXT NOT NULL)",),
    (
        f"""CREATE TABLE concession ({_SUBJECT},
            symptom TEXT NOT NULL,
            cause TEXT NOT NULL,
            free_bytes INTEGER NOT NULL,
            most_context INTEGER,
            most_sequences INTEGER,
            spare_bytes INTEGER NOT NULL,
            eager INTEGER NOT NULL,
            passed_over INTEGER NOT NULL)""",
    ),
)
"""What leads from each schema version to the next; the file's `user_version` counts them."""

SCHEMA_VERSION = len(_MIGRATIONS)
_APPLICATION_ID = int.from_bytes(b"nimc")
_DAMAGED = {
    sqlite3.SQLITE_ERROR,  # our statements are right, so the tables are not
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
}
_BUSY_TIMEOUT_S = 10.0
_LOOK_TIMEOUT_S = 0.5
_KEPT_STARTS = 10
"""So many starts of one profile on one machine with one engine's version are kept."""
_PERCENTILES = ("time_to_first_token", "inter_token_latency", "user_tokens_per_second")
_SUBJECT_NAMES = tuple(field.name for field in fields(Subject))
_TRUTHS = ("eager", "passed_over")
_Record = TypeVar("_Record", BenchRecord, MemoryRecord, StartRecord, ConcessionRecord)
_AnyRecord = BenchRecord | MemoryRecord | StartRecord | ConcessionRecord
_T = TypeVar("_T")
_TABLES: dict[type[_AnyRecord], str] = {
    BenchRecord: "bench",
    MemoryRecord: "memory",
    StartRecord: "start",
    ConcessionRecord: "concession",
}
_COLUMNS = {
    kind: (
        *_SUBJECT_NAMES,
        *(field.name for field in fields(kind) if field.name != "subject"),
    )
    for kind in _TABLES
}


class EvidenceStore:
    """The evidence in one file, which comes to be with the first record.

    A file that is no database, or a damaged one, is set aside under another name, and `on_note`
    is told in a sentence: what was measured can be measured again, and no command should fail.
    """

    def __init__(self, path: Path, on_note: Callable[[str], None]) -> None:
        self.path = path
        self._on_note = on_note

    def record_bench(self, record: BenchRecord) -> int:
        """Keep a bench; gives its number.

        Raises:
            InputError: the file cannot be written, or belongs to a newer nimctl.
        """
        return self._write(lambda database: _insert(database, record))

    def record_start(self, start: StartRecord, memory: tuple[MemoryRecord, ...]) -> int:
        """Keep a start, and what the engine's memory came to; the oldest of its kind go.

        Raises:
            InputError: the file cannot be written, or belongs to a newer nimctl.
        """

        def keep(database: sqlite3.Connection) -> int | None:
            number = _insert(database, start)
            for record in memory:
                _insert(database, record)
            _drop_old_starts(database, start.subject)
            return number

        return self._write(keep)

    def read_starts(self) -> tuple[StartRecord, ...]:
        """Every start that is kept, the newest first.

        Raises:
            InputError: the file cannot be read, or belongs to a newer nimctl.
        """
        return self._read(StartRecord)

    def record_concession(self, record: ConcessionRecord) -> int:
        """Keep what a profile had to do without to start; gives its number.

        Raises:
            InputError: the file cannot be written, or belongs to a newer nimctl.
        """
        return self._write(lambda database: _insert(database, record))

    def read_concessions(self) -> tuple[ConcessionRecord, ...]:
        """Every concession that is kept, the newest first.

        Raises:
            InputError: the file cannot be read, or belongs to a newer nimctl.
        """
        return self._read(ConcessionRecord)

    def forget_concessions(self, model: str) -> int:
        """Forget what failed starts of a model taught; gives how many there were.

        Raises:
            InputError: the file cannot be written, or belongs to a newer nimctl.
        """

        def forget(database: sqlite3.Connection) -> int:
            return database.execute("DELETE FROM concession WHERE model = ?", (model,)).rowcount

        return self._use(forget, _BUSY_TIMEOUT_S) or 0 if self.path.exists() else 0

    def read_benches(self) -> tuple[BenchRecord, ...]:
        """Every bench, the newest first.

        Raises:
            InputError: the file cannot be read, or belongs to a newer nimctl.
        """
        return self._read(BenchRecord)

    def read_memory(self) -> tuple[MemoryRecord, ...]:
        """Every comparison of predicted and actual memory, the newest first.

        Raises:
            InputError: the file cannot be read, or belongs to a newer nimctl.
        """
        return self._read(MemoryRecord)

    def remove_benches(self, ids: tuple[int, ...]) -> None:
        """Forget benches; where one of them is not there, none.

        Raises:
            InputError: there is no bench of one of these numbers, or the file cannot be written.
        """

        def remove(database: sqlite3.Connection) -> int | None:
            for number in ids:
                if not database.execute("DELETE FROM bench WHERE id = ?", (number,)).rowcount:
                    database.rollback()
                    return number
            return None

        there = self.path.exists()
        missing = self._use(remove, _BUSY_TIMEOUT_S) if there else next(iter(ids), None)
        if missing is not None:
            raise InputError(
                f"there is no bench {missing}", hint="`nimctl evidence ls` shows what there is"
            )

    def _write(self, work: Callable[[sqlite3.Connection], int | None]) -> int:
        """Do `work` in one transaction, anew where the file was damaged and has been set aside."""
        self._create()
        number = self._use(work, _BUSY_TIMEOUT_S)
        if number is None:
            self._create()
            number = self._use(work, _BUSY_TIMEOUT_S)
        return number or 0

    def _read(self, kind: type[_Record]) -> tuple[_Record, ...]:
        statement = f"SELECT {', '.join(_COLUMNS[kind])} FROM {_TABLES[kind]} ORDER BY id DESC"  # noqa: S608 - as above

        def select(database: sqlite3.Connection) -> tuple[_Record, ...]:
            return tuple(_from_row(kind, row) for row in database.execute(statement))

        return self._use(select, _LOOK_TIMEOUT_S) or () if self.path.exists() else ()

    def _create(self) -> None:
        """An empty file that only this user can read, unless there is one."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _use(self, work: Callable[[sqlite3.Connection], _T], timeout_s: float) -> _T | None:
        """What `work` gives; None where the file was damaged and has been set aside."""
        try:
            found = self.path.stat()
            with closing(_connect(self.path, timeout_s)) as database:
                self._migrate(database)
                with database:
                    return work(database)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from error
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _DAMAGED:
                raise InputError(f"{self.path} cannot be used: {error}") from error
            self._set_aside(found, str(error))
        except (ValueError, TypeError) as error:
            self._set_aside(found, str(error))
        return None

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Bring the tables to this nimctl's schema.

        Raises:
            InputError: they are newer.
        """
        version = _read_version(database)
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{self.path} was written by a newer nimctl (schema {version}; this one knows "
                f"{SCHEMA_VERSION})"
            )
        database.execute("BEGIN IMMEDIATE")
        with database:
            version = _read_version(database)  # another process may have been quicker
            for step in _MIGRATIONS[version:]:
                for statement in step:
                    database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _set_aside(self, found: os.stat_result, reason: str) -> None:
        """Give the damaged file another name, unless another process has done so already."""
        stamp = time.strftime("%Y%m%dT%H%M%S")
        names = (
            self.path.with_name(f"{self.path.name}.damaged-{stamp}{suffix}")
            for suffix in ("", *(f"-{number}" for number in range(2, 100)))
        )
        try:
            new = next(name for name in names if not name.exists())
            if self.path.stat().st_ino == found.st_ino:
                self.path.rename(new)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self.path} is damaged ({reason}): {error.strerror}") from error
        self._on_note(f"the evidence in {self.path} was damaged ({reason}); it is now {new.name}")


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection to a file that exists; every statement outside of `with` stands for itself."""
    # Not read-only, even to read: what a killed process left half done is undone on opening.
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=timeout_s
    )


def _read_version(database: sqlite3.Connection) -> int:
    """The schema version of the file; 0 of an empty one.

    Raises:
        ValueError: it is another program's.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    if application not in (0, _APPLICATION_ID):
        raise ValueError(f"it is a database of application {application:#x}")
    return int(version)


def _insert(database: sqlite3.Connection, record: _AnyRecord) -> int | None:
    values = _to_row(record)
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    # The names are those of our own dataclasses, never from outside.
    statement = f"INSERT INTO {_TABLES[type(record)]} ({names}) VALUES ({marks})"  # noqa: S608
    return database.execute(statement, tuple(values.values())).lastrowid


def _drop_old_starts(database: sqlite3.Connection, like: Subject) -> None:
    """Forget all but the newest starts of a profile here, and their memory."""
    same = "profile_id = ? AND fingerprint = ? AND engine_version IS ?"
    what = (like.profile_id, like.fingerprint, like.engine_version)
    times = database.execute(
        f"SELECT at_unix_s FROM start WHERE {same} ORDER BY id DESC LIMIT 1 OFFSET ?",  # noqa: S608
        (*what, _KEPT_STARTS),
    ).fetchone()
    if times is not None:
        for table in ("start", "memory"):
            old = f"DELETE FROM {table} WHERE {same} AND at_unix_s <= ?"  # noqa: S608
            database.execute(old, (*what, *times))


def _to_row(record: _AnyRecord) -> dict[str, Any]:
    """A record as columns: the subject's fields beside its own, percentiles as JSON."""
    document = asdict(record)
    columns = document.pop("subject") | document
    del columns["id"]
    return {
        name: json.dumps(value) if isinstance(value, dict) else value
        for name, value in columns.items()
    }


def _from_row(kind: type[_Record], row: tuple[Any, ...]) -> _Record:
    names = _COLUMNS[kind]
    columns = dict(zip(names, row, strict=True))
    subject = Subject(**{name: columns.pop(name) for name in _SUBJECT_NAMES})
    if "phases_s" in columns:
        columns["phases_s"] = json.loads(columns["phases_s"])
    for name in _PERCENTILES:
        if columns.get(name) is not None:
            columns[name] = Percentiles(**json.loads(columns[name]))
    for name in _TRUTHS:
        if name in columns:
            columns[name] = bool(columns[name])
    return kind(subject=subject, **columns)
