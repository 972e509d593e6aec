"""Where live engines keep indexes: noted before anything is made there, until it is removed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from requant.errors import CorruptDataError
from requant.store.engine import Store
from requant.store.records import checked
from requant.store.records.ledger import IndexConfig, IndexRow, config_text
from requant.store.states import Watermark


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


class Place(NamedTuple):
    """What the store knows of a place: its note has to agree.

    `settled`: nothing is under way, so that it holds `items`.
    """

    serial: int
    token: str
    settled: bool
    items: int


def add(store: Store, row: IndexRow, name: str, mark: Watermark) -> None:
    """Note that something is going to be made at `name`; it will begin at `mark`."""
    values = {
        "index_id": row.id, "name": name, "config": config_text(row.config), "made": False,
        "reaching": mark.seq, "applied_key": mark.key, "applied_seq": mark.seq, "item_count": 0,
        "serial": 0, "token": "", "settled": False,
    }  # fmt: skip
    with store.writing() as connection:
        connection.execute(sa.insert(store.tables.locations).values(values))


def made(store: Store, index: int, name: str) -> None:
    """Note that the engine has made the place."""
    table = store.tables.locations
    with store.writing() as connection:
        connection.execute(sa.update(table).where(_at(store, index, name)).values(made=True))


def find(store: Store, index: int, name: str) -> Place | None:
    """Return what is known of a place, None if it was given up."""
    t = store.tables.locations.c
    statement = sa.select(t.serial, t.token, t.settled, t.item_count).where(_at(store, index, name))
    with store.connected() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Place(row[0] or 0, row[1] or "", bool(row[2]), row[3])


def announce(store: Store, index: int, name: str, seq: int, serial: int, token: str) -> bool:
    """Say, before it is written to, that what stands there may know of all changes up to `seq`.

    On the disk when this returns, whatever happens to the machine: what the place knows, the store
    does. `serial` is the next one; False if somebody else was there first.
    """
    table = store.tables.locations
    turn = sa.and_(_at(store, index, name), sa.func.coalesce(table.c.serial, 0) == serial - 1)
    later = sa.case((table.c.reaching < seq, seq), else_=table.c.reaching)
    values = {"reaching": later, "serial": serial, "token": token, "settled": False}
    with store.writing_durably() as connection:
        return bool(connection.execute(sa.update(table).where(turn).values(values)).rowcount)


def advance(
    store: Store, index: int, name: str, mark: Watermark, items: int, serial: int, token: str
) -> bool:
    """Say how far what stands there has followed the store; False if the turn was lost."""
    table = store.tables.locations
    turn = sa.and_(_at(store, index, name), table.c.serial == serial, table.c.token == token)
    values = {
        "applied_key": mark.key, "applied_seq": mark.seq, "item_count": items, "settled": True,
    }  # fmt: skip
    with store.writing() as connection:
        return bool(connection.execute(sa.update(table).where(turn).values(values)).rowcount)


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


def is_used(store: Store, url: str) -> bool:
    """Whether a place is noted at a URL."""
    with store.connected() as connection:
        for config in connection.execute(sa.select(store.tables.locations.c.config)).scalars():
            with suppress(CorruptDataError):
                if checked.mapping(config, "a location").get("url") == url:
                    return True
    return False


def orphans(store: Store) -> list[LocationRow]:
    """Return the places whose index has been dropped; not those of which nonsense is said."""
    table, indexes = store.tables.locations, store.tables.indexes
    gone = ~sa.exists().where(indexes.c.id == table.c.index_id)
    columns = (table.c.index_id, table.c.name, table.c.config, table.c.made)
    statement = sa.select(*columns).where(gone)
    found = []
    with store.connected() as connection:
        for index, name, config, made in connection.execute(statement):
            with suppress(CorruptDataError):  # else nothing could be dropped any more
                number, where = checked.whole(index, "a location"), checked.text(name, "a location")
                known = IndexConfig(**checked.config(config, index))
                found.append(LocationRow(number, where, known, bool(made)))
    return found


def _at(store: Store, index: int, name: str) -> sa.ColumnElement[bool]:
    table = store.tables.locations
    return sa.and_(table.c.index_id == index, table.c.name == name)
