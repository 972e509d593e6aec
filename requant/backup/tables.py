"""Rows from one database to another, as they are; and the files that a backup carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from requant.store import Tables

# At 65,536 dimensions a vector has 256 kB, so that a page is 25 MB at most.
PAGE = 100
_PLAIN = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_-]+")
_NUMBERED = ("collections", "indexes", "fields", "writes")

Pages = Callable[[sa.Select[Any], int], Iterator[Sequence[sa.Row[Any]]]]
Done = Callable[[int], None]

files: sa.Table = sa.Table(
    "requant_backup_files",
    sa.MetaData(),
    sa.Column("index_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("file", sa.Text, primary_key=True),
    sa.Column("part", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


def is_plain(name: str) -> bool:
    """Whether a file's name is one that we give: what a table says must not lead anywhere else."""
    return _PLAIN.fullmatch(name) is not None


def carried(tables: Tables) -> list[sa.Table]:
    """Return the tables that a backup holds: all but the places of live indexes."""
    return [table for table in tables.every() if table is not tables.locations]


def copy_rows(
    tables: Tables, pages: Pages, into: sa.Connection, target: Tables, done: Done
) -> None:
    """Copy all rows from `tables` to `target`; `done` is told how many vectors are across."""
    mark = "?" if into.dialect.name == "sqlite" else "%s"
    for table in carried(tables):
        kind = table.name.removeprefix(tables.prefix)
        names = ", ".join(table.columns.keys())
        marks = ", ".join([mark] * len(table.columns))
        # Past SQLAlchemy, which would take longer over the parameters than the database.
        insert = f"INSERT INTO {target.quoted(kind)} ({names}) VALUES ({marks})"  # noqa: S608
        # By key, so that a SQLite file is filled from its beginning to its end.
        for rows in pages(sa.select(table).order_by(*table.primary_key), PAGE):
            into.exec_driver_sql(insert, [tuple(row) for row in rows])
            if table is tables.vectors:
                done(len(rows))


def last_numbers(connection: sa.Connection, tables: Tables) -> dict[str, int]:
    """Return the highest number that each table has ever given out: none is given out again."""
    found = {}
    for kind in _NUMBERED:
        name = _said(connection, tables, kind)
        if connection.dialect.name == "sqlite":
            text = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        else:
            text = sa.text(
                "SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)"
            )
        found[kind] = int(connection.scalar(text, {"name": name}) or 0)
    return found


def go_on_from(connection: sa.Connection, tables: Tables, numbers: dict[str, int]) -> None:
    """Let each table give out the numbers that come after."""
    if connection.dialect.name == "sqlite":
        for kind, last in numbers.items():
            row = {"name": _said(connection, tables, kind), "last": last}
            connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), row)
            connection.execute(
                sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), row
            )
        return
    highest = connection.scalar(sa.select(sa.func.max(tables.migrations.c.id))) or 0
    for kind, last in {**numbers, "migrations": highest}.items():
        name = _said(connection, tables, kind)
        if last:
            statement = sa.text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)")
            connection.execute(statement, {"name": name, "last": last})


def _said(connection: sa.Connection, tables: Tables, kind: str) -> str:
    """Return what a table's counter is asked for by."""
    if connection.dialect.name == "sqlite":
        return f"{tables.prefix}{kind}"
    return tables.quoted(kind)
