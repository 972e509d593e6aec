"""What a framework's store stands on: one collection, made when its first vector is known."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from requant.adapters import registry
from requant.collection import Collection
from requant.database import Database
from requant.errors import (
    DimensionError,
    ExistsError,
    InputError,
    StoreError,
    UnknownCollectionError,
)
from requant.indexes import IndexOptions, fit_quantizer, index_config
from requant.inputs import check_choice, check_name
from requant.integration.filling import refuse_unfinished
from requant.integration.locations import MEMORY, Location, borrow, new_file
from requant.scores import Metric

T = TypeVar("T")
# Of the index that a store makes for itself.
INDEX = "main"
# What a collection says that has been dropped, and perhaps made anew with another dimension.
_STALE = (UnknownCollectionError, DimensionError)


class Door:
    """A collection of a database at a location.

    It may not be there yet: frameworks tell the dimension with the first vector. A collection that
    is there is used as it is, with the index that it uses now, so that it can be moved to another
    engine while stores are open; only if it has none, the index that was asked for is made.
    """

    def __init__(
        self,
        location: Location = ":memory:",
        *,
        name: str,
        metric: Metric = "cosine",
        engine: str | None = "faiss",
        precision: str = "int8",
        full_text: bool = False,
        folder: str | os.PathLike[str] | None = None,
        index: Mapping[str, Any] | None = None,
        fields: Sequence[str] = (),
        must_exist: bool = False,
    ) -> None:
        """Open the database.

        Args:
            location: a path, a URL, a SQLAlchemy engine or a `requant.Database`, see `borrow`.
            name: of the collection.
            metric: `cosine`, `ip` or `l2`; a collection that is there must have it.
            engine: of its index; None for none, so that every search is exact.
            precision: of its index.
            full_text: search its documents by words, too.
            folder: where index files are kept, as in `requant.open`.
            index: what else `Collection.add_index` takes.
            fields: of the metadata, which are to be indexed.
            must_exist: refuse to begin an empty collection where it is not there.

        Raises:
            InputError, StoreError, EngineMissingError, UnknownEngineError: it cannot be opened so,
                or no such index made; nothing has been made.
        """
        self.name: str = check_name(name, "collection")
        check_choice("metric", metric, Metric)
        self.metric: Metric = metric
        if index is not None and not isinstance(index, Mapping):
            raise InputError(f"index is a dict of options, not {type(index).__name__}")
        self.full_text = full_text
        self._fields = tuple(fields)
        self._index = (
            None if engine is None else {**(index or {}), "engine": engine, "precision": precision}
        )
        self._collection: Collection | None = None
        self.in_memory: bool = location == MEMORY
        file = new_file(location)
        if must_exist and self.in_memory:
            raise InputError(self._absent("what is in memory is in no other store"))
        if must_exist and file is not None:
            raise InputError(self._absent(f"there is no database at {file}"))
        if self._index is not None and file is not None:
            _check(self._index)
        self.database: Database
        self.database, give_back = borrow(location, folder)
        self._closed = False
        self._give_back: weakref.finalize[[], Door] = weakref.finalize(self, give_back)
        try:
            if self.found() is None:
                if must_exist:
                    there = ", ".join(map(repr, self.database.collections())) or "none at all"
                    raise InputError(self._absent(f"{self.database!r} has {there}"))
                if self._index is not None:
                    _check(self._index)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the database back; closing again is harmless."""
        self._closed = True
        self._give_back()

    def is_made(self) -> bool:
        """Whether the collection is there; of a store that is closed, whether it was."""
        return self._collection is not None if self._closed else self.found() is not None

    def found(self) -> Collection | None:
        """Return the collection, or None as long as nobody has made it."""
        if self._closed:
            raise StoreError(f"the store of collection {self.name!r} is closed: make a new one")
        known = self._collection
        if known is not None and not known.closed:
            return known
        try:
            found = self.database.collection(self.name)
        except UnknownCollectionError:
            return None
        return self._ready(found)

    def made(self, dim: int) -> Collection:
        """Return the collection; if it is not there, it is made for vectors of `dim` dimensions.

        One of another dimension is returned as well: it says itself what does not fit.
        """
        found = self.found()
        if found is not None:
            return found
        try:
            made = self.database.create_collection(
                self.name, dim, self.metric, exist_ok=True, index_fields=self._fields
            )
        except ExistsError:
            found = self.found()  # another process was faster
            if found is None:
                raise
            return found
        return self._ready(made)

    def asked(self, work: Callable[[Collection], T], nothing: Callable[[], T]) -> T:
        """Return `work(collection)`, or `nothing()` where there is no collection.

        One that another process has dropped is looked for again: it may have been made anew.
        """
        found = self.found()
        if found is None:
            return nothing()
        try:
            return work(found)
        except _STALE:
            fresh = self._fresh()
            if fresh is found:
                raise
        return nothing() if fresh is None else work(fresh)

    def written(self, dim: int, work: Callable[[Collection], T]) -> T:
        """Return `work(collection)`, of one that is made if it is not there; see `made`.

        `work` is one transaction: of one that another process has dropped, nothing was written.
        """
        made = self.made(dim)
        try:
            return work(made)
        except _STALE:
            if self._fresh() is made:
                raise
        return work(self.made(dim))

    def dropped(self) -> None:
        """Remove the collection with its items and indexes, if it is there."""
        self._collection = None
        try:
            self.database.drop_collection(self.name)
        except UnknownCollectionError:
            return

    def _absent(self, why: str) -> str:
        return (
            f"collection {self.name!r} must exist, and {why}: a relative path begins where the "
            "process was started; give the location where it is now, or must_exist=False to begin "
            "an empty one"
        )

    def _fresh(self) -> Collection | None:
        self._collection = None
        return self.found()

    def _ready(self, collection: Collection) -> Collection:
        if collection.metric != self.metric:
            raise InputError(
                f"collection {self.name!r} is there with metric {collection.metric!r}, not "
                f"{self.metric!r}: give this metric, or another collection's name"
            )
        refuse_unfinished(collection)
        if not self.database.read_only:
            self._complete(collection)
        self._collection = collection
        return collection

    def _complete(self, collection: Collection) -> None:
        if self._index is not None and not collection.indexes:
            _check(self._index)
            collection.add_index(INDEX, exist_ok=True, **self._index)
        if self.full_text and not collection.full_text:
            collection.index_text()
        ready = {field.name for field in collection.fields if field.ready}
        for field in self._fields:
            if field not in ready:
                collection.index_field(field)


def _check(index: Mapping[str, Any]) -> None:
    """Refuse an index that cannot be, before anything was embedded for it."""
    known = {*IndexOptions.__optional_keys__, "overwrite"}
    unknown = sorted(index.keys() - known)
    if unknown:
        raise InputError(f"{unknown[0]!r} is no option of an index; it has {sorted(known)}")
    config = index_config(**{key: value for key, value in index.items() if key != "overwrite"})
    registry.load(config.engine)
    fit_quantizer(config, np.eye(2, 8, dtype=np.float32), "cosine")
