"""A store that is only read: from a file or folder that cannot be written to, or by choice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import sqlalchemy as sa

from requant.errors import InputError, ReadOnlyError, StoreError
from requant.store.connections import Lent, engine_of
from requant.store.engine import Store
from requant.store.reader import Reader
from requant.store.schema import SCHEMA_VERSION, Tables
from requant.store.setup import hint_of_others, version_of

_BUSY_SECONDS = 60.0


class ReadOnlyStore(Store):
    """Makes nothing, not even tables, and refuses every write by name."""

    read_only = True

    def __init__(
        self, engine: sa.Engine, *, owned: bool, still: Still | None, tables: Tables | None
    ) -> None:
        """Read from `engine`; of a file that SQLite may not lock, `still` sees that it stays so."""
        self._still = still
        super().__init__(engine, owned=owned, tables=tables, create=False)

    def reading(self, connection: Lent | None = None) -> AbstractContextManager[Reader]:
        """Lend a reader of one snapshot, as `Store` does."""
        lent = super().reading(connection)
        return lent if self._still is None else self._still.during(lent)

    def check_writable(self) -> NoReturn:
        """Raise ReadOnlyError."""
        raise ReadOnlyError(
            f"{self.engine.url!r} was opened with read_only=True: open it without, to write"
        )

    def writing(
        self,
        lent: Lent | None = None,
        *,
        turn: int | None = None,
        first: Callable[[sa.Connection], None] | None = None,
    ) -> NoReturn:
        """Raise ReadOnlyError."""
        self.check_writable()

    def writing_durably(self) -> NoReturn:
        """Raise ReadOnlyError."""
        self.check_writable()

    def number(self, collection: int, *, wait: bool = False, beside: bool = False) -> None:
        """Number nothing: what has no number is read as it is."""

    def is_free(self, collection: int) -> bool:
        """Say that this is no time to write."""
        return False

    def _prepare(self) -> None:
        with self.engine.connect() as connection:
            found = version_of(connection, self.tables)
            others = hint_of_others(connection, self.tables) if found is None else ""
        if found is None:
            raise StoreError(f"{self.engine.url!r} is not a requant database.{others}")
        if found != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.engine.url!r} has schema {found}, this requant reads {SCHEMA_VERSION}: "
                "run `requant upgrade` on it, or open it with the requant that wrote it"
            )


class Still:
    """A file that is read without locks: nobody may write to it meanwhile."""

    def __init__(self, path: Path) -> None:
        """Remember the file as it is; raises OSError."""
        self._path = path
        self._state = _state(path)

    @contextmanager
    def during(self, lent: AbstractContextManager[Reader]) -> Iterator[Reader]:
        """Lend a reader; raise StoreError if the file was written to before or meanwhile."""
        self._check()
        with lent as reader:
            yield reader
            self._check()

    def _check(self) -> None:
        try:
            same = _state(self._path) == self._state and not has_log(self._path)
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"{self._path} was written to or replaced since it was opened: open it again"
            )


def open_read_only(
    target: str | os.PathLike[str] | sa.Engine, *, tables: Tables | None = None
) -> ReadOnlyStore:
    """Open a database that is there, to be read alone.

    A SQLite file is opened as it is; where its folder cannot be written to, one in write-ahead mode
    can still be read if nothing is left in its log.

    Raises:
        StoreError: there is none, or it cannot be read without writing; the text says what to do.
        InputError: a database in memory.
    """
    if isinstance(target, sa.Engine):
        return ReadOnlyStore(engine_of(target)[0], owned=False, still=None, tables=tables)
    engine, still = _engine(target)
    try:
        return ReadOnlyStore(engine, owned=True, still=still, tables=tables)
    except BaseException:
        engine.dispose()
        raise


def has_log(path: Path) -> bool:
    """Whether there are writes beside a file that are not in it yet."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _engine(target: str | os.PathLike[str]) -> tuple[sa.Engine, Still | None]:
    if isinstance(target, str) and target == ":memory:":
        raise InputError("a new database in memory has nothing to read: read_only=True is no use")
    engine, _ = engine_of(target)
    if engine.dialect.name != "sqlite":
        sa.event.listen(engine, "connect", _read_only_session)
        return engine, None
    url = engine.url
    if url.query:
        raise InputError(f"{url!r}: read_only=True takes the plain path of the file")
    path = Path(url.database or "").absolute()
    if not path.is_file():
        raise StoreError(f"cannot open {path}: there is no such file")
    still = _still(path)

    def connect() -> sqlite3.Connection:
        return _connect(path, still is not None)

    return sa.create_engine(url, creator=connect, max_overflow=-1), still


def _read_only_session(connection: Any, _record: object) -> None:
    connection.read_only = True


def _still(path: Path) -> Still | None:
    """Return None where SQLite can read as it does beside writers."""
    try:
        _probe(path, immutable=False)
    except sqlite3.OperationalError as error:
        if has_log(path):
            raise StoreError(
                f"cannot read {path} ({error}): {path.name}-wal holds writes that are not in it "
                "yet. Copy both to where they can be written to, and open the copy; or open and "
                "close it by requant before it is made read-only"
            ) from error
        try:
            still = Still(path)
            _probe(path, immutable=True)
        except (sqlite3.OperationalError, OSError) as second:
            raise StoreError(f"cannot read {path}: {second}") from error
        return still
    except sqlite3.DatabaseError as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return None


def _probe(path: Path, *, immutable: bool) -> None:
    raw = _connect(path, immutable)
    try:
        raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        raw.close()


def _connect(path: Path, immutable: bool) -> sqlite3.Connection:
    # Immutable: SQLite takes no locks and makes no file for them.
    wish = "mode=ro&immutable=1" if immutable else "mode=ro"
    raw = sqlite3.connect(
        f"file:{quote(str(path))}?{wish}",
        uri=True,
        timeout=_BUSY_SECONDS,
        check_same_thread=False,
    )
    raw.execute("PRAGMA query_only = ON")
    return raw


def _state(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
