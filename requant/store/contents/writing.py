"""The items of one collection, written and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import sqlalchemy as sa

from requant.embeddings import Model, ModelInfo
from requant.filters import Filter
from requant.inputs import OnConflict, Rows
from requant.metrics import Operation
from requant.patches import Patch
from requant.store.connections import Lent, as_connection
from requant.store.contents.items import ItemWriter, already_stored
from requant.store.engine import Store
from requant.store.fields import Progress, check_field, index_field, unindex_field
from requant.store.history import Beside, ChangeLog, InTurn, Turns
from requant.store.records import catalog, models
from requant.store.schema import CollectionRow, key_range
from requant.store.setup import pooled
from requant.store.text import index_text, unindex_text

# Whoever writes so many items, or so often, gives what is there a number: it would take the next
# search too long. Whoever lends a connection may have no other to give: there it is done seldom, of
# what was committed before, and by a connection outside of any pool.
_MANY = 1000
_OFTEN, _OFTEN_LENT = 100, 500


class ContentsWriter:
    """What `Collection` writes and removes; ids are checked, and text, by then."""

    def __init__(self, store: Store, owner: CollectionRow, wrote: Callable[[], None]) -> None:
        """Stand for the items of `owner`; `wrote` is called after each write that is committed."""
        self._store = store
        self._owner = owner
        self._change_log = ChangeLog(store.tables, owner.id)
        self._turns = Turns(store.sql, owner)
        self._wrote = wrote
        self._notes = 0  # that were left since some were numbered

    def write(
        self,
        rows: Rows,
        connection: Lent | None,
        on_conflict: OnConflict = "replace",
        embedded: tuple[Model, ModelInfo] | None = None,
    ) -> int:
        """Store a batch and return how many of its ids are new; raises DuplicateIdError.

        What has `embedded` its texts is remembered, or has to be what is remembered.
        """
        # One item is one statement where writers stand beside one another.
        join = len(rows) != 1
        noting = embedded is not None
        writing = self._writing(connection, "upsert", len(rows), join=join, noting=noting)
        with writing as (writer, operation):
            operation.count("rows_written", len(rows))
            added = writer.upsert(rows, on_conflict)
            if embedded is not None:
                within, noted = writer.connection, writer.noted
                models.settle(within, self._store, self._owner, *embedded, noted=noted)
            return added

    def update(
        self,
        rows: Rows,
        patches: Patch | list[Patch | None] | None,
        connection: Lent | None,
    ) -> int:
        """Change items by id and return how many; raises UnknownIdError."""
        with self._writing(connection, "update") as (writer, operation):
            operation.count("rows_written", len(rows))
            return writer.update(rows, patches)

    def update_where(self, condition: Filter, patch: Patch, connection: Lent | None) -> int:
        """Merge a patch into the metadata of what meets `condition`, and return how many do."""
        with self._writing(connection, "update") as (writer, operation):
            keys = self._matching(writer, condition)
            writer.merge(keys, patch)
            operation.count("rows_written", len(keys))
            return len(keys)

    def clear(self, connection: Lent | None) -> int:
        """Remove every item and return how many there were."""
        with self._writing(connection, "clear", alone=True) as (writer, operation):
            removed = writer.clear()
            operation.count("rows_removed", removed)
            catalog.forget_origins(writer.connection, self._store, self._owner)
            return removed

    def to_be_written(self, rows: Rows, connection: Lent | None, on_conflict: OnConflict) -> Rows:
        """Return what a `write` just now would write; raises DuplicateIdError as it would.

        Others may store some of it before it is written, which then decides once more.
        """
        self._store.check_writable()
        if on_conflict == "replace":
            return rows
        with self._store.reading(connection) as reader:
            reader.state_of(self._owner)
            known = reader.keys_of(self._owner.id, rows.ids)
        if known and on_conflict == "error":
            raise already_stored(rows.ids, known)
        return rows.take([row for row, text in enumerate(rows.ids) if text not in known])

    def delete(self, ids: Sequence[str], connection: Lent | None) -> int:
        """Remove items by id and return how many there were."""
        with self._writing(connection, "delete") as (writer, operation):
            removed = writer.delete(writer.keys_of(ids))
            operation.count("rows_removed", removed)
            return removed

    def delete_where(self, condition: Filter, connection: Lent | None) -> int:
        """Remove the items that meet `condition` and return how many there were."""
        with self._writing(connection, "delete") as (writer, operation):
            removed = writer.delete(self._matching(writer, condition))
            operation.count("rows_removed", removed)
            return removed

    def index_field(self, name: str, kind: str | None, progress: Progress | None) -> None:
        """Index a field; see `requant.store.fields`."""
        index_field(self._store, self._owner, check_field(name, kind), kind, progress)

    def unindex_field(self, name: str) -> None:
        """Forget an indexed field; raises UnknownFieldError."""
        unindex_field(self._store, self._owner, check_field(name, None))

    def _matching(self, writer: ItemWriter, condition: Filter) -> list[int]:
        """Return the keys of what meets `condition`, none of which others can change any more."""
        first, end = key_range(self._owner.id)
        reader = self._store.reader_of(writer.connection)
        before = reader.state_of(self._owner)
        keys = writer.lock(reader.matching(first, end, condition).tolist())
        if reader.state_of(self._owner) == before:
            return keys
        # Others have written while we looked, or while we waited for them.
        there = np.array(keys, np.int64)
        still: list[int] = reader.matching(first, end, condition, there).tolist()
        return still

    def index_text(self, tokenizer: str, progress: Progress | None) -> None:
        """Index the words of documents; see `requant.store.text`."""
        index_text(self._store, self._owner, tokenizer, progress)

    def unindex_text(self) -> None:
        """Forget the words of documents; raises UnsupportedError."""
        unindex_text(self._store, self._owner)

    @contextmanager
    def _writing(
        self,
        connection: Lent | None,
        name: str,
        reserve: int = 0,
        *,
        alone: bool = False,
        join: bool = True,
        noting: bool = False,
    ) -> Iterator[tuple[ItemWriter, Operation]]:
        """Yield what writes: in its turn with so many keys reserved, or beside others.

        `alone`: beside nobody. Without `join` one item is to be added, which does so itself.
        `noting`: what is noted of the model will be asked for.
        """
        store, owner = self._store, self._owner
        writer = ItemWriter(store.tables, store.sql, owner, store.fields)
        history: list[InTurn | Beside] = []

        def first(lent: sa.Connection) -> None:
            if store.sql.name == "sqlite":
                turns, log = self._turns, self._change_log
                one = InTurn(lent, store.tables, store.sql, owner, turns, log, reserve)
                history.append(one)
                writer.begin(lent, one)
            else:
                beside = Beside(
                    lent, store.tables, store.sql, owner, store.numbering, noting=noting
                )
                history.append(beside)
                if join:
                    beside.join(alone=alone)
                writer.begin(lent, beside, join=join)
            operation.took("write_wait", operation.begun)

        operation = store.meters.of(owner.name).operation("write", name=name)
        with operation, store.writing(connection, turn=owner.id, first=first):
            yield writer, operation
            left = history[0].leave()
        if connection is None:  # else the caller's transaction is still open
            self._number(left)
            self._wrote()
        else:
            self._number_before(left, connection)

    def _number(self, left: int) -> None:
        """Give a number to what was committed, now and then; `left` items have none."""
        self._notes += left > 0
        if left > _MANY or self._notes >= _OFTEN:
            self._notes = 0
            self._store.number(self._owner.id)

    def _number_before(self, left: int, lent: Lent) -> None:
        """Give a number to what was committed before a caller's transaction, which goes on.

        Not where an event loop would wait for it, nor where a pooler might have no connection to
        spare until that transaction ends.
        """
        self._notes += left > 0
        if self._notes < _OFTEN_LENT:
            return
        connection = as_connection(lent)
        if not connection.dialect.is_async and not pooled.is_known_pooled(connection):
            self._notes = 0
            self._store.number(self._owner.id, beside=True)
