"""A new index beside the one in use: it answers a share of the searches too, and is compared."""

from __future__ import annotations

import os
import random
import threading
import time

from requant.errors import EngineError, ForkedError, RequantError, StoreError
from requant.indexes import IndexSet
from requant.metrics import warn
from requant.search.recall import hits_of
from requant.search.request import Found, Request
from requant.search.search import Search
from requant.store import CollectionRow, MigrationRow, Reader, Store, migrations

# How often to look whether there is a shadow, and how often to tell what it has found.
_LOOK_SECONDS = 5.0
_TELL_SEARCHES = 100
# An index that fails is left alone for a while: searches wait for its errors, too.
_REST_SECONDS = 30.0


class Shadow:
    """Follows the searches of one process; what it finds is added up in the store."""

    _pid: int
    _lock: threading.Lock
    _searches: int
    _wanted: int
    _found: int

    def __init__(self, store: Store, owner: CollectionRow, indexes: IndexSet) -> None:
        """Look for a shadow at the first search."""
        self._store = store
        self._owner = owner
        self._indexes = indexes
        self._begin()
        self._looked = -_LOOK_SECONDS
        self._rests_until = 0.0
        self._row: MigrationRow | None = None

    def look(self) -> None:
        """Look again at once: a shadow has been set or lifted."""
        self._looked = -_LOOK_SECONDS

    def follow(self, reader: Reader, request: Request, found: list[Found]) -> None:
        """Answer a share of the requests again, in the same snapshot, and count what is found.

        Whatever goes wrong with the new index is said in an IndexWarning: the answer of the old one
        stands.
        """
        if self._store.read_only:
            return
        self._check_process()
        row = self._current()
        resting = time.monotonic() < self._rests_until
        if row is None or resting or random.random() >= row.shadow:
            return
        try:
            again = self._again(reader, request, row)
        except RequantError as error:
            text = f"the shadow index of {self._owner.name!r} did not answer: {error}"
            warn("search", text)
            self._rests_until = time.monotonic() + _REST_SECONDS
            return
        wanted = sum(len(keys) for keys, _ in found)
        hits = hits_of(again, found)
        with self._lock:
            self._searches += len(found)
            self._wanted += wanted
            self._found += hits
            due = self._searches >= _TELL_SEARCHES
        if due and self._store.is_free(self._owner.id):
            self.tell()

    def tell(self) -> None:
        """Add what was counted to the store."""
        self._check_process()
        with self._lock:
            row, wanted, found = self._row, self._wanted, self._found
            self._searches = self._wanted = self._found = 0
        if row is None or not wanted:
            return
        try:
            migrations.count(self._store, row.id, wanted, found)
        except (StoreError, ForkedError) as error:
            text = f"what the shadow index of {self._owner.name!r} found is not kept: {error}"
            warn("search", text)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._searches = self._wanted = self._found = 0

    def _check_process(self) -> None:
        """Leave to the parent of a forked child what the parent has counted."""
        if os.getpid() != self._pid:
            self._begin()

    def _current(self) -> MigrationRow | None:
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return self._row
        self._looked = time.monotonic()  # at once, so that no other thread looks as well
        rows = migrations.every(self._store, self._owner.id)
        fresh = next((row for row in rows if row.shadow > 0 and row.state != "rolled back"), None)
        if self._row is not None and (fresh is None or fresh.id != self._row.id):
            self.tell()
        self._row = fresh
        return fresh

    def _again(self, reader: Reader, request: Request, row: MigrationRow) -> list[Found]:
        state = reader.state_of(self._owner)
        if state.active == row.index:
            return []
        loaded = self._indexes.numbered(reader, state, row.index)
        if loaded is None:
            raise EngineError("it holds nothing yet")
        return Search(reader, self._owner, state, loaded, request).run()
