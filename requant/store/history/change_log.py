"""The log of updates and deletes, cut when no index has read it for long."""

from __future__ import annotations

import sqlalchemy as sa

from requant.store.schema import Tables, key_range

# The log is looked at once in so many writes, and may have as many rows as items, or this many.
_LOG_EVERY = 64
_LOG_ROWS = 10_000


class ChangeLog:
    """Bounds the log of one collection, whichever of its writes are logged."""

    def __init__(self, tables: Tables, collection: int) -> None:
        """Look at the first write that is logged, and then every so many."""
        self._tables = tables
        self._collection = collection
        self._looked: int | None = None
        self._writes = 0

    def bound(self, connection: sa.Connection, seq: int, next_key: int, *, writes: int = 1) -> None:
        """Cut the log if it is too long; within the write `seq`, which has logged something.

        In PostgreSQL `seq` may stand for many `writes`. Whoever is behind what is left builds anew.
        """
        self._writes += writes
        recent = self._looked is not None and 0 <= seq - self._looked < _LOG_EVERY
        if recent and self._writes < _LOG_EVERY:
            return
        self._looked, self._writes = seq, 0
        changes, collections = self._tables.changes, self._tables.collections
        log = changes.c.collection_id == self._collection
        count = sa.select(sa.func.count()).select_from(changes).where(log)
        # Keys are never used twice, so there are at most so many items: counting them takes long.
        most = max(next_key - key_range(self._collection)[0], _LOG_ROWS)
        if (connection.scalar(count) or 0) <= most:
            return
        # Half of it stays, in whole writes: else it would be cut again at once.
        latest = sa.select(changes.c.seq).where(log).order_by(changes.c.seq.desc())
        floor = connection.scalar(latest.offset(most // 2).limit(1))
        connection.execute(sa.delete(changes).where(log, changes.c.seq <= floor))
        at = collections.c.id == self._collection
        connection.execute(sa.update(collections).where(at).values(log_floor=floor))
