"""Searcher a collection: requests checked, answered in one snapshot, and now and then twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from requant.errors import CorruptIndexError, EngineError, InputError
from requant.filters import Columns, Filter, read_where, select_kinds, select_values
from requant.indexes import IndexSet, Loaded
from requant.quantizers.arrays import Float32s
from requant.search.request import Found, Request
from requant.search.results import Batch, Hit, batch_of, hits
from requant.search.search import Search
from requant.search.shadow import Shadow
from requant.store import CollectionRow, Reader, Store, ledger

T = TypeVar("T")

MAX_K = 100_000
MAX_EFFORT = 1_000_000
# Each time another write has to come between a snapshot and the answer of an index.
_TRIES = 8


class Searcher:
    """What `Collection` does to answer."""

    def __init__(self, store: Store, owner: CollectionRow, indexes: IndexSet) -> None:
        """Answer for `owner` with its indexes."""
        self._store = store
        self._owner = owner
        self._indexes = indexes
        self.shadow: Shadow = Shadow(store, owner, indexes)

    def request(
        self,
        queries: Float32s,
        k: int,
        where: Mapping[str, Any] | None,
        oversample: float | None,
        effort: int | None,
    ) -> Request:
        """Return a request; raises InputError, FilterError."""
        whole, number = (int, np.integer), (int, float, np.integer, np.floating)
        if isinstance(k, bool) or not isinstance(k, whole) or not 1 <= k <= MAX_K:
            raise InputError(f"k must be an integer from 1 to {MAX_K}, not {k!r}")
        if oversample is not None and not (
            isinstance(oversample, number) and 1 <= oversample <= MAX_K
        ):
            raise InputError(f"oversample must be a number from 1 to {MAX_K}, not {oversample!r}")
        if effort is not None and not (isinstance(effort, whole) and 1 <= effort <= MAX_EFFORT):
            raise InputError(f"effort must be an integer from 1 to {MAX_EFFORT}, not {effort!r}")
        return Request(queries, int(k), oversample, effort, self.condition(where))

    def condition(self, where: Mapping[str, Any] | None) -> Filter | None:
        """Read a filter; None for one that lets everything pass. Raises FilterError."""
        if where is None or where == {}:
            return None
        items, vectors = self._store.tables.items, self._store.tables.vectors
        columns = Columns(
            items.c.metadata,
            {"id": items.c.ext_id, "document": items.c.document},
            sa.exists().where(vectors.c.key == items.c.key),
        )
        return read_where(where, columns, self._store.sql.name)

    def values(self, field: str) -> sa.Select[Any]:
        """Return the statement that tells each value of a field; raises FilterError."""
        items = self._store.tables.items
        return select_values(field, items.c.key, items.c.metadata, self._store.sql.name)

    def kinds(self, field: str) -> sa.Select[Any]:
        """Return the statement that tells what type stands in a field; raises FilterError."""
        items = self._store.tables.items
        return select_kinds(field, items.c.key, items.c.metadata, self._store.sql.name)

    def hits(self, request: Request, exact: bool, index: str | None) -> list[Hit]:
        """Answer one query with its items."""

        def join(reader: Reader, found: list[Found]) -> list[Hit]:
            return hits(found[0], reader.items(found[0][0].tolist()))

        return self._answer(request, exact, index, join)

    def batch(self, request: Request, exact: bool, index: str | None) -> Batch:
        """Answer many queries with the ids of their items."""

        def join(reader: Reader, found: list[Found]) -> Batch:
            keys = {key for row, _ in found for key in row.tolist()}
            return batch_of(found, reader.ids(sorted(keys)), request.k)

        return self._answer(request, exact, index, join)

    def _answer(
        self,
        request: Request,
        exact: bool,
        index: str | None,
        join: Callable[[Reader, list[Found]], T],
    ) -> T:
        """Search, and join the results with their items, in one snapshot.

        An index that somebody else caught up further meanwhile has answered from another time than
        the snapshot's: the search is then done again, in the end without the index. So it is where
        an index fails that was removed, or that can be opened or made again.
        """
        for _ in range(_TRIES):
            with self._store.reading() as reader:
                seq, loaded, found = self._found(reader, request, exact, index)
                if found is None:
                    continue
                answer = join(reader, found)
                if not exact and index is None:
                    self.shadow.follow(reader, request, found)
            # After the snapshot, whose connection is the only one that a search takes.
            if loaded is None or not loaded.is_ahead_of(seq):
                return answer
        with self._store.reading() as reader:
            return join(reader, self._found(reader, request, True, index)[2] or [])

    def _found(
        self, reader: Reader, request: Request, exact: bool, index: str | None
    ) -> tuple[int, Loaded | None, list[Found] | None]:
        """Return how far the snapshot goes, the index that was asked, and what was found.

        That is None where the index failed, and the next try opens it or makes it again.
        """
        state = reader.state_of(self._owner)
        if exact and index is not None and reader.index_number(self._owner, index) is None:
            ledger.find(self._store, self._owner.id, index)  # not asked, but it has to exist
        loaded = None if exact else self._indexes.current(reader, state, index)
        try:
            return state.seq, loaded, Search(reader, self._owner, state, loaded, request).run()
        except (EngineError, CorruptIndexError) as error:
            if loaded is None or not self._indexes.outlives(loaded, error):
                raise
            return state.seq, loaded, None
