"""One collection of a move brought up to the other: what was written there is embedded here.

A share at a time: what is marked is read in one snapshot, embedded, and written in one transaction
that takes the marks away. Killed anywhere, it has done a share or not; whatever was written since
is marked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from requant.embeddings import Model, embed
from requant.errors import InputError, ModelError, StoreError, UnknownCollectionError
from requant.inputs import Rows
from requant.migration.embedding.embedder import info_of
from requant.store import CollectionRow, ContentsWriter, Move, RawItem, Reader, Store, moving

Options = Any


@dataclass
class Share:
    """What was marked: items to embed, those that keep their vector or have none, and the gone."""

    numbers: list[int]
    to_embed: list[RawItem] = field(default_factory=list)
    bare: list[RawItem] = field(default_factory=list)  # without a document, so without a vector
    carried: list[RawItem] = field(default_factory=list)  # the same document, other metadata
    gone: list[str] = field(default_factory=list)


class _OvertakenError(Exception):
    """Somebody else follows as well, and was faster."""


class Follower:
    """Brings `target` up to `source`."""

    def __init__(
        self,
        store: Store,
        move: Move,
        source: CollectionRow,
        target: CollectionRow,
        model: Callable[[], Model],
        options: Options,
    ) -> None:
        """Embed by what `model()` returns, which is asked when there is something to embed."""
        self._store = store
        self._move = move
        self._source = source
        self._target = target
        self._model = model
        self._options = options
        self._writer = ContentsWriter(store, target, lambda: None)
        self.embedded: int = 0

    def left(self) -> int:
        """Return how many items are to be looked at."""
        with self._store.connected() as connection:
            return self.count(connection)

    def follow(self, batch: int, progress: Callable[[int, int], object] | None) -> None:
        """Look at everything that is marked when this begins.

        Raises UnknownCollectionError if one of the two is dropped meanwhile.
        """
        try:
            self._follow(batch, progress)
        except StoreError as error:
            with self._store.connected() as connection:
                if moving.find(connection, self._store.tables, self._move.id) is not None:
                    raise
            raise UnknownCollectionError(
                f"the move of collection {self._source.name!r} has ended: one of the two, "
                f"{self._source.name!r} or {self._target.name!r}, was dropped meanwhile"
            ) from error

    def _follow(self, batch: int, progress: Callable[[int, int], object] | None) -> None:
        done, store = 0, self._store
        with store.connected() as connection:
            last = moving.marks.last(connection, store.tables, self._move.id)
        while True:
            with store.reading() as reader:
                reader.state_of(self._source)
                share = self._share(reader, batch, last)
            if not share.numbers:
                return
            vectors = self._embed(share)
            try:
                with store.writing(turn=self._target.id) as connection:
                    self._write(connection, share, vectors)
            except _OvertakenError:
                continue
            store.number(self._target.id)
            self.embedded += len(share.to_embed)
            done += len(share.numbers)
            if progress is not None:
                progress(done, done + self.left())

    def follow_within(self, connection: sa.Connection, batch: int) -> None:
        """Look at everything that is marked, in a transaction that lets nobody else write."""
        last = moving.marks.last(connection, self._store.tables, self._move.id)
        while True:
            share = self._share(self._store.reader_of(connection), batch, last)
            if not share.numbers:
                return
            self._write(connection, share, self._embed(share))
            self.embedded += len(share.to_embed)

    def count(self, connection: sa.Connection) -> int:
        """Return how many items a transaction sees marked."""
        tables = self._store.tables
        return moving.marks.count(connection, tables, self._move.id, self._source.id)

    def _share(self, reader: Reader, batch: int, last: int) -> Share:
        connection, _ = reader.source()
        move, source, tables = self._move.id, self._source.id, self._store.tables
        found = moving.marks.some(connection, tables, move, source, batch, last)
        share = Share([number for number, _ in found])
        ids = list(dict.fromkeys(text for _, text in found))
        if not ids:
            return share
        theirs = self._items(reader, self._source, ids)
        ours = self._items(reader, self._target, ids)
        keys = np.array(sorted(row[0] for row in ours.values()), np.int64)
        embedded = set(reader.vectors(keys, self._target.dim)[0].tolist()) if len(keys) else set()
        for text in ids:
            item, here = theirs.get(text), ours.get(text)
            has = here is not None and here[0] in embedded
            if item is None:
                share.gone += [] if here is None else [text]
            elif item[3] is not None and not (has and here is not None and here[3] == item[3]):
                share.to_embed.append(item)
            elif item[3] is None and (has or here is None or here[3] is not None):
                share.bare.append(item)
            elif here is not None and here[2:] != item[2:]:
                share.carried.append(item)
        return share

    def _items(self, reader: Reader, owner: CollectionRow, ids: list[str]) -> dict[str, RawItem]:
        rows = reader.raw_items(list(reader.keys_of(owner.id, ids).values()))
        return {row[1]: row for row in rows.values()}

    def _embed(self, share: Share) -> Any:
        if not share.to_embed:
            return None
        model, items = self._model(), share.to_embed
        try:
            return embed(
                model, [str(item[3]) for item in items], "document", self._target.dim,
                options=self._options, progress=lambda _done, _total: None,
            )  # fmt: skip
        except (InputError, ModelError) as error:
            first, last = (f"{item[1]!r:.80}" for item in (items[0], items[-1]))
            raise type(error)(
                f"the batch of {len(items)} items from {first} to {last} was not stored: {error}"
            ) from error

    def _write(self, connection: sa.Connection, share: Share, vectors: Any) -> None:
        if not moving.marks.take(connection, self._store.tables, self._move.id, share.numbers):
            raise _OvertakenError
        if share.to_embed:
            embedded = self._model(), info_of(self._model(), vectors, self._options)
            self._writer.write(_rows(share.to_embed, vectors), connection, "replace", embedded)
        if share.bare:
            nothing = np.zeros((len(share.bare), self._target.dim), np.float32)
            rows = _rows(share.bare, nothing, np.zeros(len(share.bare), np.bool_))
            self._writer.write(rows, connection)
        if share.carried:
            self._writer.write(_rows(share.carried, None), connection)
        if share.gone:
            self._writer.delete(share.gone, connection)


def _rows(items: list[RawItem], vectors: Any, present: Any = None) -> Rows:
    return Rows(
        [row[1] for row in items],
        [row[2] for row in items],
        vectors,
        [row[3] for row in items],
        [row[4] for row in items],
        present,
    )
