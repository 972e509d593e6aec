"""The items of a collection, or those that a filter lets through, as they are in one snapshot."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.collection import Collection
from requant.errors import CorruptDataError
from requant.integration.export.job import Progress
from requant.quantizers.arrays import Float32s
from requant.store import CollectionRow, Id, Reader, key_range

# Keys looked at in one go, whether a filter lets them through or not: half a megabyte.
_WINDOW = 1 << 16


@dataclass(frozen=True)
class Rows:
    """Items in order: `vectors (m, d) float32` belong to those that `present (n,) bool` marks."""

    keys: Keys
    ids: list[Id]
    documents: list[str | None]
    metadata: list[dict[str, Any] | None]
    present: NDArray[np.bool_]
    vectors: Float32s

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)


class Snapshot:
    """Reads the same items however often it is asked, whatever others write meanwhile."""

    def __init__(
        self, reader: Reader, owner: CollectionRow, condition: sa.ColumnElement[bool] | None
    ) -> None:
        """Read through `reader`; raises UnknownCollectionError if the collection is gone."""
        self._reader = reader
        self._owner = owner
        self._condition = sa.true() if condition is None else condition
        self._first, _ = key_range(owner.id)
        self._end = reader.state_of(owner).next_key
        self.total = (
            reader.count(owner.id)
            if condition is None
            else sum(len(keys) for keys in self._windows())
        )

    def pages(self, size: int, progress: Progress) -> Generator[Rows, None, None]:
        """Yield all items in the order of insertion, at most `size` at a time.

        Raises:
            CorruptDataError: a stored vector is not what was written; nobody is to copy it.
        """
        done = 0
        progress(done, self.total)
        for keys in self._windows():
            self._check(keys)
            for start in range(0, len(keys), size):
                rows = self._rows(keys[start : start + size])
                yield rows
                done += len(rows)
                progress(done, self.total)

    def ids(self) -> Iterator[list[Id]]:
        """Yield all ids, some at a time."""
        for keys in self._windows():
            yield list(self._reader.ids(keys.tolist()).values())

    def metadata(self, size: int) -> Iterator[list[dict[str, Any] | None]]:
        """Yield the metadata of all items, at most `size` at a time."""
        for keys in self._windows():
            for start in range(0, len(keys), size):
                items = self._reader.items(keys[start : start + size].tolist())
                yield [item.metadata for item in items.values()]

    def _windows(self) -> Iterator[Keys]:
        for start in range(self._first, self._end, _WINDOW):
            end = min(start + _WINDOW, self._end)
            keys = self._reader.matching(start, end, self._condition)
            if len(keys):
                yield keys

    def _check(self, keys: Keys) -> None:
        first, last = int(keys[0]), int(keys[-1])
        damaged = next(self._reader.damaged(first, last + 1, self._owner.dim), None)
        if damaged is not None:
            raise CorruptDataError(
                f"the stored vector of key {damaged} differs from its checksum: it is not exported;"
                " `requant verify --deep` lists all that are damaged"
            )

    def _rows(self, keys: Keys) -> Rows:
        by_key = self._reader.items(keys.tolist())
        items = [by_key[key] for key in keys.tolist()]
        found, vectors = self._reader.vectors(keys, self._owner.dim)
        order = np.argsort(found)
        return Rows(
            keys,
            [item.id for item in items],
            [item.document for item in items],
            [item.metadata for item in items],
            np.isin(keys, found),
            vectors[order],
        )


@contextmanager
def snapshot(collection: Collection, where: Mapping[str, Any] | None) -> Iterator[Snapshot]:
    """Open a snapshot of the items that `where` lets through, of all if it is None or empty.

    Raises FilterError, UnknownCollectionError.
    """
    condition = collection._searcher.condition(where)
    with collection._store.reading() as reader:
        yield Snapshot(reader, collection._row, condition)
