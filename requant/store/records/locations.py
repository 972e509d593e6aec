"""Where live engines keep indexes: noted before anything is made there, until it is removed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from requant.store.engine import Store
from requant.store.reader import Watermark
from requant.store.records import checked
from requant.store.records.ledger import IndexConfig, IndexRow, config_text


@dataclass(frozen=True)
class LocationRow:
    """A place that was named for an index, by the number that the index has or had."""

    index: int
    name: str
    config: IndexConfig
    made: bool = True

    @property
    def ours(self) -> bool:
        """Whether nobody else can have made what stands there: made-up names are unique."""
        return self.made or self.name != self.config.remote_name


def add(store: Store, row: IndexRow, name: str, mark: Watermark) -> None:
    """Note that something is going to be made at `name`; it will begin at `mark`."""
    values = {
        "index_id": row.id, "name": name, "config": config_text(row.config), "made": False,
        "reaching": mark.seq, "applied_key": mark.key, "applied_seq": mark.seq, "item_count": 0,
    }  # fmt: skip
    with store.writing() as connection:
        connection.execute(sa.insert(store.tables.locations).values(values))


def made(store: Store, index: int, name: str) -> None:
    """Note that the engine has made the place."""
    table = store.tables.locations
    with store.writing() as connection:
        connection.execute(sa.update(table).where(_at(store, index, name)).values(made=True))


def announce(store: Store, index: int, name: str, seq: int) -> None:
    """Say, before it is written to, that what stands there may know of all changes up to `seq`."""
    table = store.tables.locations
    later = sa.and_(_at(store, index, name), table.c.reaching < seq)
    with store.writing() as connection:
        connection.execute(sa.update(table).where(later).values(reaching=seq))


def advance(store: Store, index: int, name: str, mark: Watermark, items: int) -> None:
    """Say how far what stands there has followed the store."""
    values = {"applied_key": mark.key, "applied_seq": mark.seq, "item_count": items}
    with store.writing() as connection:
        update = sa.update(store.tables.locations).where(_at(store, index, name))
        connection.execute(update.values(values))


def remove(store: Store, index: int, name: str) -> None:
    """Forget a place: nothing stands there any more."""
    with store.writing() as connection:
        connection.execute(sa.delete(store.tables.locations).where(_at(store, index, name)))


def names(store: Store, index: int) -> set[str]:
    """Return the names of all places of an index."""
    table = store.tables.locations
    with store.connected() as connection:
        found = connection.execute(sa.select(table.c.name).where(table.c.index_id == index))
        return set(found.scalars())


def orphans(store: Store) -> list[LocationRow]:
    """Return the places whose index has been dropped."""
    table, indexes = store.tables.locations, store.tables.indexes
    gone = ~sa.exists().where(indexes.c.id == table.c.index_id)
    columns = (table.c.index_id, table.c.name, table.c.config, table.c.made)
    statement = sa.select(*columns).where(gone)
    with store.connected() as connection:
        return [
            LocationRow(
                checked.whole(index, "a location"), checked.text(name, "a location"),
                IndexConfig(**checked.config(config, index)), bool(made),
            )
            for index, name, config, made in connection.execute(statement)
        ]  # fmt: skip


def _at(store: Store, index: int, name: str) -> sa.ColumnElement[bool]:
    table = store.tables.locations
    return sa.and_(table.c.index_id == index, table.c.name == name)
