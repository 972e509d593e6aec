"""The items of one collection, read by id or one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import sqlalchemy as sa

from requant.errors import InputError, UnknownIdError
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.engine import Store
from requant.store.reader import Item
from requant.store.schema import CollectionRow
from requant.store.selection import Selection


class Contents:
    """What `Collection` reads of its items; ids are checked, and text, by then."""

    def __init__(self, store: Store, owner: CollectionRow) -> None:
        """Stand for the items of `owner`."""
        self._store = store
        self._owner = owner

    def __len__(self) -> int:
        """Return how many items are stored."""
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            return reader.count(self._owner.id)

    def get(self, ids: Sequence[str], connection: sa.Connection | None) -> list[Item]:
        """Return the items that exist, in the order asked, without their vectors."""
        with self._store.reading(connection) as reader:
            keys = reader.keys_of(self._owner.id, ids)
            items = reader.items(list(keys.values()))
            if not items:
                reader.state_of(self._owner)  # which raises if the collection itself is gone
        found = (items.get(keys.get(text, -1)) for text in ids)
        return [item for item in found if item is not None]

    def vectors(self, ids: Sequence[str]) -> Float32s:
        """Return `(n, d) float32` in the order asked; raises UnknownIdError."""
        owner = self._owner
        with self._store.reading() as reader:
            reader.state_of(owner)
            by_id = reader.keys_of(owner.id, ids)
            unknown = next((text for text in ids if text not in by_id), None)
            if unknown is not None:
                raise UnknownIdError(f"no item {unknown[:80]!r} in collection {owner.name!r}")
            keys = np.array([by_id[text] for text in ids], np.int64)
            order = np.argsort(keys)
            vectors = np.empty((len(keys), owner.dim), np.float32)
            step = rows_for(owner.dim)
            for start in range(0, len(order), step):
                part = order[start : start + step]
                found, some = reader.vectors(np.unique(keys[part]), owner.dim)
                lost = ~np.isin(keys[part], found)
                if lost.any():
                    name = ids[int(part[lost].min())][:80]
                    raise UnknownIdError(
                        f"item {name!r} of collection {owner.name!r} has no vector"
                    )
                vectors[part] = some[np.searchsorted(found, keys[part])]
        return vectors

    def iterate(self, condition: sa.ColumnElement[bool] | None, batch: int) -> Iterator[Item]:
        """Yield the items that meet `condition`, with vectors, in the order of insertion."""
        if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
            raise InputError(f"batch must be a whole number from 1, not {batch!r}")
        with self.selected(condition) as selection:
            yield from selection.items(int(batch))

    @contextmanager
    def selected(self, condition: sa.ColumnElement[bool] | None) -> Iterator[Selection]:
        """Lend what meets `condition` as it is in one snapshot, to be read more than once."""
        with self._store.reading() as reader:
            yield Selection(reader, self._owner, condition)
