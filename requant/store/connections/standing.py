"""Whether a SQLite file still stands where it was opened.

A file that is replaced by renaming (a restore by `mv`, rsync, an editor) lives on, without a name,
in the connections that have it open: what they write is seen by nobody else, and gone at the end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.errors import StoreError

_KEY = "requant_standing"


class Standing:
    """One file at its path: raises StoreError once another one, or none, is there."""

    def __init__(self, path: str) -> None:
        """Remember the file at `path`."""
        self._path = path
        found = os.stat(path)  # noqa: PTH116
        self._file = found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise StoreError unless it is the same file still."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 (for each search: half the time)
        except FileNotFoundError:
            raise self._gone("removed") from None
        except OSError:
            return  # a folder that cannot be looked into just now says nothing
        if (found.st_dev, found.st_ino) != self._file:
            raise self._gone("replaced by another file")

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._path

    @property
    def inode(self) -> int:
        """Its number in its file system."""
        return self._file[1]

    def _gone(self, what: str) -> StoreError:
        return StoreError(
            f"{self._path} was {what} while it was open here: what is written goes to the old "
            "file, which nobody else can see, and so may the last writes have. Close the database "
            "in every process, see that no -wal of the old file is left beside the new one, and "
            "open it again"
        )

    def is_replaced(self) -> bool:
        """Whether another file is there by now."""
        try:
            self.check()
        except StoreError:
            return Path(self._path).exists()
        return False


def standing_of(raw: Any, path: str) -> Standing | None:
    """Return what watches the file that a connection of the driver has open; None if it has none.

    `path` is how the engine calls it, which may be a link: it counts if it leads there.
    """
    cursor = raw.cursor()
    cursor.row_factory = None  # whatever the application has chosen
    listed = cursor.execute("PRAGMA database_list").fetchall()
    opened = next((row[2] for row in listed if row[1] == "main"), "")
    if not opened or not Path(opened).exists():
        return None
    known = path and Path(path).exists() and Path(path).samefile(opened)
    return Standing(str(Path(path).absolute()) if known else opened)


def watch_connections(engine: sa.Engine, path: str) -> None:
    """Have no transaction committed, and no connection taken from a pool, whose file has gone."""

    def out(raw: Any, record: Any, _proxy: object) -> None:
        if _KEY not in record.info:
            record.info[_KEY] = standing_of(raw, path)
        standing = record.info[_KEY]
        if standing is not None and standing.is_replaced():
            raise sa.exc.DisconnectionError  # the pool opens the new file instead

    dialect: Any = engine.dialect
    commit = dialect.do_commit

    def checked_commit(connection: Any) -> None:
        standing = connection.info.get(_KEY)
        if standing is not None:
            standing.check()
        commit(connection)

    sa.event.listen(engine, "checkout", out)
    # No listener: a single one has SQLAlchemy look for others at each step of each transaction.
    dialect.do_commit = checked_commit
