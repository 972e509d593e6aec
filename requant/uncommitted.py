"""Collections made in a transaction that a caller lent: a database's own once it has committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from requant.collection import Collection
from requant.store import CollectionRow, Store, catalog


class Uncommitted:
    """What was made and may be rolled back yet, whole or to a savepoint."""

    def __init__(self, store: Store, adopt: Callable[[CollectionRow, Collection], object]) -> None:
        """Let `adopt` have each collection that its transaction has kept."""
        self._store = store
        self._adopt = adopt
        self._held: dict[tuple[int, CollectionRow], Collection] = {}

    def find(self, connection: sa.Connection, row: CollectionRow) -> Collection | None:
        """Return the collection if it was made in the transaction of `connection`."""
        return self._held.get((id(connection.get_transaction()), row))

    def hold(self, connection: sa.Connection, row: CollectionRow, collection: Collection) -> None:
        """Keep a collection that was made in the transaction of `connection`."""
        # Its number is not another's as long as what listens holds it.
        transaction = connection.get_transaction()
        key = (id(transaction), row)
        self._held[key] = collection

        def ends(connection: sa.Connection) -> bool:
            ours = connection.get_transaction() in (transaction, None)
            return ours and self._held.pop(key, None) is not None

        def committing(connection: sa.Connection) -> None:
            if not ends(connection):
                return
            if catalog.is_there(connection, self._store, row):  # after any savepoint
                self._adopt(row, collection)
            else:
                collection.let_go()

        def undone(connection: sa.Connection) -> None:
            if ends(connection):
                collection.let_go()

        listen: Any = sa.event.listen
        listen(connection, "commit", committing)
        listen(connection, "rollback", undone)
