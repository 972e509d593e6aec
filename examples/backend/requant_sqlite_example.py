"""A sample backend of storage "live": codes in a SQLite table, compared by NumPy."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from requant.adapters.errors import CorruptIndexError, LocationTakenError
from requant.adapters.guards import check_supported
from requant.adapters.live import LiveBackend
from requant.adapters.protocol import Candidates, Capabilities, IndexSpec, Keys, Support
from requant.quantizers.arrays import Codes
from requant.quantizers.distance import code_distances
from requant.quantizers.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

_FILE = "codes.sqlite"
_SCHEMA = """CREATE TABLE kind (spec TEXT NOT NULL);
CREATE TABLE codes (key INTEGER PRIMARY KEY, code BLOB NOT NULL);"""


class Table:
    """The structure that `LiveBackend` guards: whatever reaches it has been checked."""

    def __init__(self, spec: IndexSpec, connection: sqlite3.Connection) -> None:
        """Work on an open database."""
        self._spec, self._connection = spec, connection
        self._arrays: tuple[Keys, Codes] | None = None  # all of it, until the next write

    def __len__(self) -> int:
        """Return the number of keys."""
        return int(self._connection.execute("SELECT count(*) FROM codes").fetchone()[0])

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store codes, replacing what is there."""
        rows = zip(keys.tolist(), map(bytes, codes), strict=True)
        self._arrays = None
        with self._connection:  # all rows or none
            self._connection.executemany("INSERT OR REPLACE INTO codes VALUES (?, ?)", rows)

    def delete(self, keys: Keys) -> int:
        """Remove keys and return how many were there."""
        self._arrays = None
        with self._connection:
            rows = ((key,) for key in keys.tolist())
            done = self._connection.executemany("DELETE FROM codes WHERE key = ?", rows)
        return max(done.rowcount, 0)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Compare everything, or everything of `among`; `effort` means nothing to a full scan."""
        keys, stored = self._everything()
        if among is not None:
            chosen = np.isin(keys, among)
            keys, stored = keys[chosen], stored[chosen]
        found = Candidates.empty(self._spec, len(queries), k, codes)
        for row, query in enumerate(queries):
            distances = code_distances(query[None], stored, self._spec.code, self._spec.metric)[0]
            best = np.argsort(distances, kind="stable")[:k]
            n = len(best)
            found.keys[row, :n], found.distances[row, :n] = keys[best], distances[best]
            if found.codes is not None:
                found.codes[row, :n] = stored[best]
        return found

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        last = -1
        while True:
            keys, codes = self._read(last, batch)
            if not len(keys):
                return
            yield keys, codes
            last = int(keys[-1])

    def flush(self) -> None:
        """Bring every committed write from the log into the database, and both onto the disk."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _everything(self) -> tuple[Keys, Codes]:
        if self._arrays is None:
            self._arrays = self._read()
        return self._arrays

    def _read(self, after: int = -1, most: int = -1) -> tuple[Keys, Codes]:
        query = "SELECT key, code FROM codes WHERE key > ? ORDER BY key LIMIT ?"
        rows = self._connection.execute(query, (after, most)).fetchall()
        codes = np.frombuffer(b"".join(code for _, code in rows), self._spec.code.dtype)
        keys = np.array([key for key, _ in rows], np.int64)
        return keys, codes.reshape(len(rows), self._spec.code.width)


class SqliteBackend(LiveBackend[Table]):
    """Codes in a SQLite table. `LiveBackend` checks arguments and lets in one thread at a time."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        engine="sqlite_example",
        storage="live",
        places=("folder",),
        supports=(
            Support("int8", "flat", ("ip", "l2"), exact=True, key_sets=True, codes=True),
            Support("float32", "flat", ("ip", "l2"), exact=True, key_sets=True, codes=True),
            Support("binary", "flat", ("hamming",), exact=True, key_sets=True, codes=True),
        ),
    )

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *, overwrite: bool = False
    ) -> Self:
        """Return an empty index in the folder `location`."""
        check_supported(cls.capabilities, spec)
        if location is None:
            raise InputError("sqlite_example keeps its index on disk: give it a location")
        if overwrite:
            cls.drop(spec, location)
        folder = Path(location)
        if folder.exists() and any(folder.iterdir()):
            raise LocationTakenError(f"{location} is not empty")
        folder.mkdir(parents=True, exist_ok=True)
        connection = _connect(folder / _FILE)
        connection.executescript(_SCHEMA)
        with connection:
            connection.execute("INSERT INTO kind VALUES (?)", (_kind(spec),))
        return cls(spec, Table(spec, connection), sharing="none")

    @classmethod
    def open(cls, spec: IndexSpec, location: str) -> Self:
        """Return the index in the folder `location`, if it is one of `spec`."""
        check_supported(cls.capabilities, spec)
        path = Path(location, _FILE)
        if not path.exists():
            raise CorruptIndexError(f"there is no index at {location}")
        try:
            connection = _connect(path)
            found = connection.execute("SELECT spec FROM kind").fetchone()
        except sqlite3.Error as error:
            raise CorruptIndexError(f"SQLite cannot read {path}: {error}") from error
        if found != (_kind(spec),):
            connection.close()
            raise CorruptIndexError(f"{location} holds {found}, not {_kind(spec)}")
        return cls(spec, Table(spec, connection), sharing="none")

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove our files, and the folder if nobody else has put anything there."""
        folder = Path(location)
        for path in folder.glob(f"{_FILE}*"):
            path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)  # the guard lets one in at a time
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def _kind(spec: IndexSpec) -> str:
    return f"{spec.code} {spec.metric}"
