"""Migrations between indexes: what was begun, how it stands, and what a shadow has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from requant.store.engine import Store
from requant.store.records import checked, ledger
from requant.store.records.ledger import IndexRow

State = Literal["building", "verified", "switched", "rolled back"]


@dataclass(frozen=True)
class MigrationRow:
    """One migration; `source` is the number of the index that was in use, None for none.

    `turn` is which switch of the collection it was, the latest the highest, 0 for none.
    `shadow` is the share of searches that the new index answers as well; of the `wanted` results
    of those, it has found `found`.
    """

    id: int
    index: int
    source: int | None
    state: State
    report: Mapping[str, Any]
    shadow: float
    wanted: int
    found: int
    turn: int = 0


def begin(store: Store, collection: int, index: IndexRow, source: int | None) -> MigrationRow:
    """Return the migration to an index, recorded now if it was not before."""
    table = store.tables.migrations
    for row in every(store, collection):
        if row.index == index.id:
            return row
    values = {
        "collection_id": collection, "index_id": index.id, "source_id": source,
        "state": "building", "report": "{}", "shadow": 0.0, "wanted": 0, "found": 0,
    }  # fmt: skip
    with store.writing() as connection:
        number = connection.execute(sa.insert(table).values(values).returning(table.c.id))
        return MigrationRow(number.scalar_one(), index.id, source, "building", {}, 0.0, 0, 0)


def every(store: Store, collection: int) -> list[MigrationRow]:
    """Return the migrations of a collection whose index is still there, the newest first."""
    table, indexes = store.tables.migrations, store.tables.indexes
    statement = (
        sa.select(table)
        .join(indexes, indexes.c.id == table.c.index_id)
        .where(table.c.collection_id == collection)
        .order_by(table.c.id.desc())
    )
    what = f"a migration of collection {collection}"
    with store.connected() as connection:
        return [
            MigrationRow(
                row.id, row.index_id, row.source_id, row.state,
                checked.mapping(row.report, what), row.shadow, row.wanted, row.found,
                row.turn or 0,
            )
            for row in connection.execute(statement)
        ]  # fmt: skip


def note(store: Store, migration: MigrationRow, state: State, report: Mapping[str, Any]) -> None:
    """Record how a migration stands."""
    values = {"state": state, "report": json.dumps(report)}
    with store.writing() as connection:
        connection.execute(_update(store, migration).values(values))


def switch(store: Store, collection: int, migration: MigrationRow) -> None:
    """Let searches use the new index, and remember what they used: both or neither.

    Its shadow ends: there is nothing to compare it with any more. Raises UnknownIndexError if it
    has been dropped.
    """
    t = store.tables
    used = sa.select(t.collections.c.active).where(t.collections.c.id == collection)
    latest = sa.select(sa.func.coalesce(sa.func.max(t.migrations.c.turn), 0))
    latest = latest.where(t.migrations.c.collection_id == collection)
    with store.writing(turn=collection) as connection:
        ledger.take_turn(connection, store, collection)
        before, turn = connection.scalar(used), int(connection.scalar(latest) or 0) + 1
        ledger.set_active(connection, store, collection, migration.index)
        values = {"state": "switched", "source_id": before, "shadow": 0.0, "turn": turn}
        connection.execute(_update(store, migration).values(values))


def roll_back(store: Store, collection: int, migration: MigrationRow) -> None:
    """Let searches use what they used before, and record it, both or neither.

    Raises UnknownIndexError if it has been dropped.
    """
    with store.writing(turn=collection) as connection:
        ledger.set_active(connection, store, collection, migration.source)
        connection.execute(_update(store, migration).values(state="rolled back"))


def shadow(store: Store, migration: MigrationRow, share: float) -> None:
    """Let the new index answer a share of the searches as well; counting begins anew."""
    values = {"shadow": share, "wanted": 0, "found": 0}
    with store.writing() as connection:
        connection.execute(_update(store, migration).values(values))


def count(store: Store, migration: int, wanted: int, found: int) -> None:
    """Add what a shadow has found of what was wanted."""
    table = store.tables.migrations
    values = {"wanted": table.c.wanted + wanted, "found": table.c.found + found}
    with store.writing() as connection:
        connection.execute(sa.update(table).where(table.c.id == migration).values(values))


def _update(store: Store, migration: MigrationRow) -> sa.Update:
    table = store.tables.migrations
    return sa.update(table).where(table.c.id == migration.id)
