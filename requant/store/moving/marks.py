"""Which items were written since they were last looked at: a table that triggers write to.

A row for each write, never changed: whoever writes waits for nobody. Who follows removes the rows
that it has seen in the transaction that writes what they led to, so that a row which came after is
left, and of two who follow at once one finds its rows gone and begins again.
"""

# ruff: noqa: S608 (names of tables, and numbers)
from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa

from requant.store.schema import Tables, key_range

_SQLITE_TABLE = """CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT,
collection_id INTEGER NOT NULL, ext_id TEXT NOT NULL)"""
_POSTGRESQL_TABLE = """CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
collection_id bigint NOT NULL, ext_id text NOT NULL)"""
_OLD = "INSERT INTO {table} (collection_id, ext_id) VALUES (OLD.collection_id, OLD.ext_id)"
_NEW = "INSERT INTO {table} (collection_id, ext_id) VALUES (NEW.collection_id, NEW.ext_id)"
_WHEN = {
    "insert": "INSERT ON {items} FOR EACH ROW WHEN (NEW.collection_id = {collection})",
    "update": "UPDATE ON {items} FOR EACH ROW WHEN (NEW.collection_id = {collection})",
    "delete": "DELETE ON {items} FOR EACH ROW WHEN (OLD.collection_id = {collection})",
}
_BODIES = {"insert": f"{_NEW};", "update": f"{_OLD}; {_NEW};", "delete": f"{_OLD};"}
_SQLITE_TRIGGER = 'CREATE TRIGGER "{name}_{what}_{collection}" AFTER {when} BEGIN {body} END'
# As whoever began the move: who may write items need not know of it.
_FUNCTION = f"""CREATE FUNCTION {{function}}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        {_OLD};
    END IF;
    IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND NEW.ext_id <> OLD.ext_id) THEN
        {_NEW};
    END IF;
    RETURN NULL;
END $body$"""
_KEEP_TO_US = "REVOKE ALL ON FUNCTION {function}() FROM PUBLIC"
_POSTGRESQL_TRIGGER = (
    'CREATE TRIGGER "{name}_{what}_{collection}" AFTER {when} EXECUTE FUNCTION {function}()'
)


def name_of(tables: Tables, move: int) -> str:
    """Return what the table of a move is called, without a schema."""
    return f"{tables.prefix}moving_{move}"


def is_of_move(name: str, prefix: str) -> bool:
    """Whether a table is one of those that note what a move has to follow."""
    return re.fullmatch(rf"{re.escape(prefix)}moving_\d+", name, re.IGNORECASE) is not None


def create(connection: sa.Connection, tables: Tables, move: int, collections: list[int]) -> None:
    """Make the table of a move, and let triggers note what is written to its collections."""
    sqlite = connection.dialect.name == "sqlite"
    _run(connection, _SQLITE_TABLE if sqlite else _POSTGRESQL_TABLE, tables, move)
    if not sqlite:
        _run(connection, _FUNCTION, tables, move)
        _run(connection, _KEEP_TO_US, tables, move)
    trigger = _SQLITE_TRIGGER if sqlite else _POSTGRESQL_TRIGGER
    for collection in collections:
        for what, when in _WHEN.items():
            statement = trigger.replace("{when}", when).replace("{body}", _BODIES[what])
            _run(connection, statement.replace("{what}", what), tables, move, collection)


def drop(connection: sa.Connection, tables: Tables, move: int, collections: list[int]) -> None:
    """Remove what `create` has made, as far as it is there."""
    if connection.dialect.name == "sqlite":
        for collection in collections:
            for what in _WHEN:
                trigger = 'DROP TRIGGER IF EXISTS "{name}_{what}_{collection}"'
                _run(connection, trigger.replace("{what}", what), tables, move, collection)
    else:
        _run(connection, "DROP FUNCTION IF EXISTS {function}() CASCADE", tables, move)
    _run(connection, "DROP TABLE IF EXISTS {table}", tables, move)


def is_there(connection: sa.Connection, tables: Tables, move: int) -> bool:
    """Whether the table is there; a database that was restored has none."""
    return sa.inspect(connection).has_table(name_of(tables, move), schema=tables.schema)


def mark_all(connection: sa.Connection, tables: Tables, move: int, source: int, of: int) -> None:
    """Let all items of the collection `of` be looked at by who follows `source`."""
    first, end = key_range(of)
    connection.exec_driver_sql(
        f"INSERT INTO {_table(tables, move)} (collection_id, ext_id) SELECT {source:d}, ext_id "
        f"FROM {tables.quoted('items')} WHERE key >= {first:d} AND key < {end:d} ORDER BY key"
    )


def some(
    connection: sa.Connection, tables: Tables, move: int, source: int, limit: int, last: int
) -> list[tuple[int, str]]:
    """Return the next marks up to the number `last`, (number, id of the item), in order."""
    found = connection.exec_driver_sql(
        f"SELECT id, ext_id FROM {_table(tables, move)} WHERE collection_id = {source:d} "
        f"AND id <= {last:d} ORDER BY id LIMIT {limit:d}"
    )
    return [(number, text) for number, text in found]


def last(connection: sa.Connection, tables: Tables, move: int) -> int:
    """Return the number of the latest mark, 0 without any."""
    found = connection.exec_driver_sql(f"SELECT max(id) FROM {_table(tables, move)}")
    return int(found.scalar() or 0)


def count(connection: sa.Connection, tables: Tables, move: int, source: int) -> int:
    """Return how many items are marked."""
    found = connection.exec_driver_sql(
        f"SELECT count(DISTINCT ext_id) FROM {_table(tables, move)} "
        f"WHERE collection_id = {source:d}"
    )
    return int(found.scalar_one())


def take(connection: sa.Connection, tables: Tables, move: int, numbers: Sequence[int]) -> bool:
    """Remove marks; whether all of them were there, else the transaction is to be given up."""
    gone = 0
    for start in range(0, len(numbers), 500):
        listed = ", ".join(str(int(n)) for n in numbers[start : start + 500])
        result = connection.exec_driver_sql(
            f"DELETE FROM {_table(tables, move)} WHERE id IN ({listed})"
        )
        gone += result.rowcount
    return gone == len(numbers)


def forget(connection: sa.Connection, tables: Tables, move: int, collection: int) -> None:
    """Remove all marks of a collection."""
    connection.exec_driver_sql(
        f"DELETE FROM {_table(tables, move)} WHERE collection_id = {collection:d}"
    )


def _table(tables: Tables, move: int) -> str:
    return tables.quoted(f"moving_{move:d}")


def _run(
    connection: sa.Connection, text: str, tables: Tables, move: int, collection: int = 0
) -> None:
    connection.exec_driver_sql(
        text.replace("{table}", _table(tables, move))
        .replace("{function}", tables.quoted(f"moving_{move:d}_note"))
        .replace("{name}", name_of(tables, move))
        .replace("{items}", tables.quoted("items"))
        .replace("{collection}", str(collection))
    )
