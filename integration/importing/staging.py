"""The rows of an items file in a temporary SQLite file, to be found by id or by row number.

So a join holds little in memory, whatever the order of the two files: the temporary file is about
as large as the texts and metadata, and in the folder for temporary files (TMPDIR).
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from requant.errors import InputError
from requant.inputs import check_ids, check_rows
from requant.integration.errors import SourceError
from requant.integration.readers.load import placed
from requant.integration.readers.source import Batch, Source

_TABLE = """CREATE TABLE items (
    row INTEGER PRIMARY KEY, key TEXT, id TEXT, kind INTEGER, document TEXT, metadata TEXT,
    length REAL, crc32 INTEGER)"""
_FOUND = """SELECT wanted.key, items.row, items.id, items.kind, items.document, items.metadata,
    items.length, items.crc32 FROM json_each(?) AS wanted JOIN items ON items.{} = wanted.value"""
_SHOWN = 3
_BATCH = 1024


class Staged(NamedTuple):
    """A row of the items file; `id` is None if the file has no ids."""

    row: int
    id: Any
    document: str | None
    metadata: dict[str, Any] | None
    length: float | None
    crc32: int | None


class Staging:
    """All rows of an items file, checked, and which of them have been found by a vector."""

    def __init__(self, name: str, has_ids: bool) -> None:
        """Make the temporary file for the rows of `name`."""
        self.name = name
        self.has_ids = has_ids
        self.rows: int = 0
        self.unlabelled: int = 0
        self.used: NDArray[np.bool_] = np.zeros(0, bool)
        self._folder = tempfile.TemporaryDirectory(prefix="requant-items-")
        self._file = sqlite3.connect(Path(self._folder.name) / "items", isolation_level=None)
        self._file.execute("PRAGMA journal_mode=OFF")
        self._file.execute("PRAGMA synchronous=OFF")
        self._file.execute(_TABLE)
        self._file.execute("BEGIN")

    def add(
        self,
        batch: Batch,
        keys: Sequence[Any] | None = None,
        lengths: Sequence[Any] | None = None,
        checksums: Sequence[Any] | None = None,
    ) -> None:
        """Append rows; `keys` are what vectors find them by, else their ids. Raises SourceError.

        `lengths` and `checksums` are those of the vectors, where the file tells them.
        """
        try:
            ids, kinds = check_ids(batch.ids)
            rows = check_rows(range(len(ids)), None, batch.documents, batch.metadata, 1)
        except InputError as error:
            raise placed(error, batch) from error
        count, nothing = len(ids), [None] * len(ids)
        wanted: list[str | None] = list(ids)
        if keys is not None:
            wanted = [None if key is None else str(key) for key in keys]
        self._file.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            zip(
                range(self.rows, self.rows + count), wanted, ids, kinds,
                rows.documents or nothing, rows.metadata or nothing, lengths or nothing,
                checksums or nothing,
                strict=True,
            ),
        )  # fmt: skip
        self.rows += count
        self.unlabelled += wanted.count(None)

    def complete(self) -> None:
        """Be ready to be asked; raises SourceError where an id occurs more than once."""
        self._file.execute("COMMIT")
        self._file.execute("CREATE INDEX by_key ON items (key)")
        self.used = np.zeros(self.rows, bool)
        for column in ("id", "key"):
            self._check_once(column)

    def find(self, keys: Sequence[Any], *, by_row: bool) -> list[Staged | None]:
        """Return the row of each key, or None, and remember those that were found."""
        wanted = json.dumps([int(k) if by_row else str(k) for k in keys])
        found: list[Staged | None] = [None] * len(keys)
        for at, *fields in self._file.execute(_FOUND.format("row" if by_row else "key"), [wanted]):
            found[at] = self._row(fields)
            self.used[fields[0]] = True
        return found

    def unused(self, size: int) -> Iterator[list[Staged]]:
        """Yield the rows that no vector has found, in their order."""
        left = np.flatnonzero(~self.used).tolist()
        for start in range(0, len(left), size):
            part = self.find(left[start : start + size], by_row=True)
            yield [row for row in part if row is not None]

    def shown(self, rows: Sequence[int]) -> str:
        """Return some rows for a message: their ids, or their numbers."""
        part = self.find(list(rows[:_SHOWN]), by_row=True)
        names = [
            f"row {r.row}" + (f" (id {str(r.id)[:80]!r})" if self.has_ids else "")
            for r in part
            if r
        ]
        return ", ".join(names) + (", ..." if len(rows) > _SHOWN else "")

    def _id_of(self, row: Staged) -> str:
        return f" (id {str(row.id)[:80]!r})" if self.has_ids else ""

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        self._folder.cleanup()

    def _row(self, fields: list[Any]) -> Staged:
        row, name, kind, document, metadata, length, checksum = fields
        value = name if not self.has_ids else int(name) if kind == 1 else name
        if kind == 2:
            value = UUID(name)
        told = None if metadata is None else json.loads(metadata)
        return Staged(row, value if self.has_ids else None, document, told, length, checksum)

    def _check_once(self, column: str) -> None:
        repeated = (
            f"SELECT {column}, min(row), max(row) FROM items WHERE {column} IS NOT NULL "  # noqa: S608
            f"GROUP BY {column} HAVING count(*) > 1"
        )
        count = self._file.execute(f"SELECT count(*) FROM ({repeated})").fetchone()[0]  # noqa: S608
        if not count:
            return
        some = self._file.execute(f"{repeated} ORDER BY 2 LIMIT {_SHOWN}").fetchall()
        told = ", ".join(f"{name!r:.80} in rows {a} and {b}" for name, a, b in some)
        raise SourceError(
            f"{self.name}: {count:,} id{'s' * (count != 1)} occur more than once, so it is not "
            f"clear which row is meant: {told}"
        )


def staged(source: Source) -> Staging:
    """Read an items file; raises SourceError."""
    staging = Staging(str(source.path), source.chosen.ids is not None)
    try:
        for batch in source.batches(_BATCH):
            staging.add(batch)
        staging.complete()
    except BaseException:
        staging.close()
        raise
    return staging


def staged_labels(source: Source) -> Staging:
    """Read the file that `requant export` puts beside an index; raises SourceError."""
    staging = Staging(str(source.path), True)
    try:
        for batch in source.batches(_BATCH):
            entries: list[Any] = batch.metadata or []
            given = [(entry.get("id"), entry.get("id_type")) for entry in entries]
            ids = [UUID(name) if kind == "uuid" else name for name, kind in given]
            told = Batch(
                ids, batch.vectors, batch.present,
                [entry.get("document") for entry in entries],
                [entry.get("metadata") for entry in entries], batch.place,
            )  # fmt: skip
            labels = [entry.get("label") for entry in entries]
            lengths = [entry.get("length") for entry in entries]
            staging.add(told, labels, lengths, [entry.get("crc32") for entry in entries])
        staging.complete()
    except BaseException:
        staging.close()
        raise
    return staging
