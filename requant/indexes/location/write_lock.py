"""Whose turn it is to write to a live index: one process at a time, on all machines."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from requant.adapters.forks import keep_from_children
from requant.adapters.own_files import LOCK, refuse_link
from requant.errors import StoreError
from requant.store import PREFIX, Store

PATIENCE = 60.0
_POLL = 0.05
_NAMESPACE = 0x7265_7175  # "requ": PostgreSQL's advisory locks are shared by whole databases


class WriteLock:
    """A lock that dies with the process that holds it; to be used by one thread at a time.

    In PostgreSQL it is an advisory lock, beside SQLite a lock on a file in the index's folder.
    """

    def __init__(self, store: Store, folder: Path, index: int) -> None:
        """Prepare the lock of `index`; nothing is locked yet."""
        self._store = store
        self._path = folder / LOCK
        self._index = index
        self._depth = 0
        self._held = ExitStack()

    @contextmanager
    def held(self, wait: bool) -> Iterator[bool]:
        """Hold the lock and yield True; yield False if another process does and `wait` is not set.

        May be nested. Raises StoreError when it has been waited for in vain.
        """
        if not self._depth and not self._acquire(PATIENCE if wait else 0.0):
            if wait:
                raise StoreError(
                    f"another process has been writing to this index for {PATIENCE:.0f} s: try "
                    "again when it has finished"
                )
            yield False
            return
        self._depth += 1
        try:
            yield True
        finally:
            self._depth -= 1
            if not self._depth:
                self._release()

    def _release(self) -> None:
        """Let others in; where the connection has gone, they are in already."""
        try:
            self._held.close()
        except StoreError:
            self._held = ExitStack()

    def _acquire(self, patience: float) -> bool:
        if self._store.sql.name == "sqlite":
            return self._lock_file(patience)
        return self._lock_advisory(patience)

    def _lock_file(self, patience: float) -> bool:
        from filelock import FileLock, Timeout

        refuse_link(self._path.parent)
        refuse_link(self._path)
        lock = FileLock(self._path, thread_local=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience, poll_interval=_POLL)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(f"cannot lock {self._path}: {error}") from error
        self._held.callback(lock.release)
        # A child would keep it locked after this process has ended.
        self._held.callback(keep_from_children(self._path))
        return True

    def _number(self) -> int:
        """Return the index's number in the whole database: two schemas of it number from 1 each.

        In the schema and by the names that tables have by default, it is as it always was.
        """
        tables = self._store.tables
        number = self._index
        if (tables.prefix, tables.schema) != (PREFIX, "public"):
            number = zlib.crc32(f"{tables.schema}.{tables.prefix}.{self._index}".encode())
        return number & 0x7FFF_FFFF

    def _lock_advisory(self, patience: float) -> bool:
        """Lock within a transaction that stays open.

        So a pooler that hands out connections by the transaction (pgbouncer) leaves this one to us.
        The transaction has no snapshot and nothing to write: it holds nobody up. Who loses the
        connection all the same is told by the serial of the place.
        """
        deadline = time.monotonic() + patience
        key = (_NAMESPACE, self._number())
        with ExitStack() as stack:
            connection: Any = stack.enter_context(self._store.connected())
            connection.execution_options(isolation_level="READ COMMITTED")
            while not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(*key))):
                connection.rollback()
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL)
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            self._held = stack.pop_all()
        return True
