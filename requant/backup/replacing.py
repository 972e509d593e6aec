"""Taking the place of a SQLite database that nobody has open."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from requant.errors import ExistsError, StoreError
from requant.store import build_tables, is_of_move, is_of_text

_PATIENCE = 2.0
_REPLACED = b"replaced by a restored database\n"


@contextmanager
def replacing(path: Path, overwrite: bool, prefix: str) -> Iterator[bool]:
    """Make sure that a new file may be moved to `path`; yield whether it replaces a database.

    Raises:
        ExistsError: there is a file and `overwrite` is not set.
        StoreError: it is open elsewhere, no database of requant's alone, or damaged.
    """
    check_free(path, overwrite)
    if not os.path.lexists(path):
        yield False
        return
    with closing(_alone(path, prefix)):
        # Only now: closing a file ends every lock of this process on it, those of a database that
        # is open here as well, and others would then believe to be alone.
        old = os.open(path, os.O_RDWR)
        try:
            yield True
            if not os.fstat(old).st_nlink:
                # Whoever has opened the old file and waits for us must not write to it: the log
                # would be found beside the new one. It is told that this is no database.
                os.pwrite(old, _REPLACED, 0)
        finally:
            os.close(old)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise ExistsError unless nothing is there, or may be replaced.

    The log of a database that has gone is a StoreError: SQLite would apply it to the new one.
    """
    if os.path.lexists(path):
        if not overwrite:
            raise ExistsError(
                f"{path} is there already: give overwrite=True (--overwrite) to replace it"
            )
        return
    for kind in ("-wal", "-journal"):
        log = path.with_name(path.name + kind)
        if log.exists():
            raise StoreError(
                f"{log} is left from a database that is gone: see that nobody has it open, and "
                "remove it"
            )


def _alone(path: Path, prefix: str) -> sqlite3.Connection:
    """Return a connection that nobody else can use the database beside; its log is empty."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        _check_ours(path, connection, prefix)
        # This fails while another connection is open, and leaves no log behind.
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        raise _explained(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(path: Path, connection: sqlite3.Connection, prefix: str) -> None:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
    names = {name.lower(): name for (name,) in found if not name.startswith("sqlite_")}
    # By their whole names: an application's own tables may begin with the prefix, too.
    ours = {table.name.lower() for table in build_tables(prefix=prefix).every()}
    strangers = sorted(
        name
        for lower, name in names.items()
        if lower not in ours and not is_of_text(name, prefix) and not is_of_move(name, prefix)
    )
    if strangers or f"{prefix}meta".lower() not in names:
        what = f"holds {strangers[0]!r} as well" if strangers else "is not a requant database"
        raise StoreError(f"{path} {what}: it is not replaced; restore to another path")


def _explained(path: Path, error: sqlite3.Error) -> StoreError:
    if "locked" in str(error) or "busy" in str(error):
        return StoreError(f"{path} is open elsewhere: close it there, and restore again")
    return StoreError(
        f"{path} cannot be taken over ({error}): move it away, with its -wal and -shm, and restore "
        "again"
    )
