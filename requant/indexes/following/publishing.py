"""Generations of an index that is in use: recorded, and the places of earlier ones removed."""

from __future__ import annotations

from collections.abc import Callable

from requant.indexes.following.making import record
from requant.indexes.following.newest import Newest
from requant.indexes.following.retired import Retired
from requant.indexes.loaded import Loaded
from requant.indexes.location import Location
from requant.metrics import Operation, logger
from requant.store import IndexRow, Store, ledger

# So much of a long build, and half as much again as is published, is worth not being done twice.
PART_ROWS = 50_000


class Publisher:
    """Publishes one index; its caller holds the lock, and that of its location."""

    def __init__(
        self,
        store: Store,
        row: IndexRow,
        location: Location,
        newest: Newest,
        old: Retired,
        operation: Callable[[], Operation],
    ) -> None:
        """Publish what is kept at `location`; `old` is closed before its place is removed.

        What each publication takes is measured by what `operation` returns.
        """
        self._store = store
        self._row = row
        self._location = location
        self._newest = newest
        self._old = old
        self._operation = operation

    def publish(self, loaded: Loaded) -> bool:
        """Record a generation; returns False if one that followed further was there."""
        with self._operation() as operation:
            recorded = self._recorded(loaded)
            operation.count("outrun", 0 if recorded else 1)
        state = "published" if recorded else "left: another process has published a newer one"
        name, of = self._row.name, operation.collection
        text = "index %r of %r: %s, %d items, %.3f s"
        logger("indexes").info(text, name, of, state, loaded.size, operation.seconds)
        return recorded

    def _recorded(self, loaded: Loaded) -> bool:
        useless, name = record(self._store, self._row, self._location, loaded, self._newest.damaged)
        self._newest.damaged = set()
        loaded.unpublished = loaded.postponed = 0
        keep = ledger.files(self._store, self._row.id)
        recorded = name in keep
        loaded.recorded = loaded.recorded or recorded
        # A place that was not recorded for being behind is in use all the same.
        keep |= {loaded.name} if loaded.name else set()
        self._old.close(keep)
        self._location.clear(useless, keep)
        return recorded

    def keep_part(self, loaded: Loaded) -> None:
        """Publish a part of a long build, so that whoever is killed goes on from there."""
        if loaded.unpublished > PART_ROWS:
            loaded.items = len(loaded.backend)
            if loaded.unpublished > loaded.items // 2:
                self.publish(loaded)

    def leave_old_places(self, loaded: Loaded) -> None:
        """Remove the places of earlier builds, which searches of others had to get out of."""
        if ledger.files(self._store, self._row.id) - {loaded.name}:
            ledger.keep_only(self._store, self._row, loaded.name)
            self._old.close({loaded.name})
            self._location.clear(set(), {loaded.name})


def is_due(loaded: Loaded, rows: int, part: int) -> bool:
    """Whether more than `rows`, and than a part of the index, are not published yet."""
    fresh = loaded.unpublished - loaded.postponed
    return fresh > max(rows, loaded.size // part)
