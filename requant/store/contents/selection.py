"""The items of a collection, or those that a filter lets through, as they are in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.errors import CorruptDataError
from requant.filters import Filter
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.decoding import Id, Item
from requant.store.reader import Reader
from requant.store.schema import CollectionRow, key_range

# Keys looked at in one go, whether a filter lets them through or not: half a megabyte.
_WINDOW = 1 << 16


@dataclass(frozen=True)
class Page:
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


class Selection:
    """Reads the same items however often it is asked, whatever others write meanwhile."""

    def __init__(self, reader: Reader, owner: CollectionRow, condition: Filter | None) -> None:
        """Read through `reader`; raises UnknownCollectionError if the collection is gone."""
        self._reader = reader
        self._owner = owner
        self._all = condition is None
        self._condition = sa.true() if condition is None else condition
        self._first, _ = key_range(owner.id)
        self._end = reader.state_of(owner).next_key

    @cached_property
    def total(self) -> int:
        """How many items there are; with a filter, those that meet it are counted."""
        if self._all:
            return self._reader.count(self._owner.id)
        return sum(map(len, self._windows()))

    def items(self, size: int, *, vectors: bool = True) -> Iterator[Item]:
        """Yield all items in the order of insertion, reading `size` at a time.

        With their vectors, unless these are not wanted.

        Not checked against their checksums, as in a search.
        """
        if self._all and vectors:
            yield from self._reader.iterate(*key_range(self._owner.id), self._owner.dim, size)
            return
        for keys in self._chunks(rows_for(self._owner.dim, size) if vectors else size):
            found = self._reader.items(keys.tolist())
            by_key = self._vectors(keys) if vectors else {}
            for key in keys.tolist():
                yield found[key]._replace(vector=by_key.get(key))

    def pages(self, size: int, progress: Callable[[int, int], None]) -> Generator[Page, None, None]:
        """Yield all items in the order of insertion, at most `size` at a time.

        Raises:
            CorruptDataError: a stored vector is not what was written; nobody is to copy it.
        """
        done, total = 0, self.total
        progress(done, total)
        size = rows_for(self._owner.dim, size)
        for keys in self._windows():
            self._check(keys)
            for start in range(0, len(keys), size):
                rows = self._rows(keys[start : start + size])
                yield rows
                done += len(rows)
                progress(done, total)

    def ids(self) -> Iterator[list[Id]]:
        """Yield all ids, some at a time."""
        for keys in self._windows():
            yield list(self._reader.ids(keys.tolist()).values())

    def metadata(self, size: int) -> Iterator[list[dict[str, Any] | None]]:
        """Yield the metadata of all items, at most `size` at a time."""
        for keys in self._chunks(size):
            yield [item.metadata for item in self._reader.items(keys.tolist()).values()]

    def _vectors(self, keys: Keys) -> dict[int, Float32s]:
        present, vectors = self._reader.vectors(keys, self._owner.dim)
        # Copies: who keeps one vector is not to keep the memory of all.
        return {key: row.copy() for key, row in zip(present.tolist(), vectors, strict=True)}

    def _chunks(self, size: int) -> Iterator[Keys]:
        for keys in self._windows():
            for start in range(0, len(keys), size):
                yield keys[start : start + size]

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

    def _rows(self, keys: Keys) -> Page:
        by_key = self._reader.items(keys.tolist())
        items = [by_key[key] for key in keys.tolist()]
        found, vectors = self._reader.vectors(keys, self._owner.dim)
        order = np.argsort(found)
        return Page(
            keys,
            [item.id for item in items],
            [item.document for item in items],
            [item.metadata for item in items],
            np.isin(keys, found),
            vectors[order],
        )
