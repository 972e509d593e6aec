"""The words of documents in SQLite: a table of FTS5 a collection, which triggers keep in step.

The triggers stand on the table of items, so that whoever writes to it keeps the index in step
within the same transaction: this process or another, an older requant, a trigger of an
application's own. The table reads documents from a view of the items and holds none itself; what
`_docsize` lists is indexed, which lets the index be built a share at a time while others write.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from requant.errors import UnsupportedError
from requant.store.schema import Tables, key_range
from requant.store.text.definitions import TextIndex
from requant.store.text.syntax import Term, TextQuery

_TOKENIZE = {
    "unicode": "unicode61 remove_diacritics 2",
    "porter": "porter unicode61 remove_diacritics 2",
    "trigram": "trigram",
}
_VIEW = """CREATE VIEW "{text}_items" AS SELECT key, document FROM {items}
WHERE key >= {first} AND key < {end} AND document IS NOT NULL"""
_TABLE = """CREATE VIRTUAL TABLE "{text}" USING fts5(
document, content="{text}_items", content_rowid='key', tokenize='{tokenize}')"""
_TAKE = """INSERT INTO "{text}" ("{text}", rowid, document)
SELECT 'delete', OLD.key, OLD.document
WHERE OLD.document IS NOT NULL AND EXISTS (SELECT 1 FROM "{text}_docsize" WHERE id = OLD.key);"""
_ADD = """INSERT INTO "{text}" (rowid, document)
SELECT NEW.key, NEW.document WHERE NEW.document IS NOT NULL;"""
_TRIGGERS = {
    "insert": (
        'CREATE TRIGGER "{text}_insert" AFTER INSERT ON {items} '
        f"WHEN NEW.collection_id = {{collection}} BEGIN {_ADD} END"
    ),
    "update": (
        'CREATE TRIGGER "{text}_update" AFTER UPDATE OF document ON {items} '
        "WHEN NEW.collection_id = {collection} AND NEW.document IS NOT OLD.document "
        f"BEGIN {_TAKE} {_ADD} END"
    ),
    "delete": (
        'CREATE TRIGGER "{text}_delete" AFTER DELETE ON {items} '
        f"WHEN OLD.collection_id = {{collection}} BEGIN {_TAKE} END"
    ),
}
_FILL = """INSERT INTO "{text}" (rowid, document)
SELECT key, document FROM "{text}_items" AS i WHERE key >= ? AND key < ?
AND NOT EXISTS (SELECT 1 FROM "{text}_docsize" WHERE id = i.key)"""
_EMPTY = """INSERT INTO "{text}" ("{text}") VALUES ('delete-all')"""
# By our own ORDER BY: the one by `rank` sorts all rows, where this keeps the best ones.
_MATCHES = """SELECT rowid AS key, -bm25("{text}") AS score FROM "{text}" WHERE "{text}" MATCH ?
ORDER BY score DESC, rowid LIMIT {limit}"""
_LACKING = """SELECT key FROM "{text}_items" AS i
WHERE NOT EXISTS (SELECT 1 FROM "{text}_docsize" WHERE id = i.key)"""
_STRANGE = """SELECT id FROM "{text}_docsize" AS d WHERE id < {first} OR id >= {end}
OR NOT EXISTS (SELECT 1 FROM "{text}_items" WHERE key = d.id)"""
_CHECK = """INSERT INTO "{text}" ("{text}", rank) VALUES ('integrity-check', 1)"""


def create(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Make an index that holds nothing yet, and let triggers keep it."""
    connection.exec_driver_sql(named(_VIEW, tables, index))
    try:
        connection.exec_driver_sql(named(_TABLE, tables, index))
    except sa.exc.OperationalError as error:
        raise UnsupportedError(
            f"this SQLite ({sqlite3.sqlite_version}) cannot index documents by "
            f"{index.tokenizer!r}: {error.orig}"
        ) from error
    for statement in _TRIGGERS.values():
        connection.exec_driver_sql(named(statement, tables, index))


def drop(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Remove what `create` has made, as far as it is there."""
    name = index.name(tables)
    for what in _TRIGGERS:
        connection.exec_driver_sql(f'DROP TRIGGER IF EXISTS "{name}_{what}"')
    connection.exec_driver_sql(f'DROP TABLE IF EXISTS "{name}"')
    connection.exec_driver_sql(f'DROP VIEW IF EXISTS "{name}_items"')


def fill(connection: sa.Connection, tables: Tables, index: TextIndex, first: int, end: int) -> None:
    """Index the items of `first <= key < end` that are not yet."""
    connection.exec_driver_sql(named(_FILL, tables, index), (first, end))


def empty(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Forget all words at once, before every item is deleted: triggers take out one by one."""
    connection.exec_driver_sql(named(_EMPTY, tables, index))


def finish(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Do what is worth it once all items are indexed: nothing."""


def matches(
    cursor: Any, tables: Tables, index: TextIndex, query: TextQuery, limit: int | None
) -> list[tuple[int, float]]:
    """Return (key, score) of what matches, best first by BM25; all of it without a limit."""
    statement, texts = matching(index, query, limit)
    found = cursor.execute(named(statement, tables, index), texts)
    rows: list[tuple[int, float]] = found.fetchall()
    return rows


def matching(
    index: TextIndex, query: TextQuery, limit: int | None, size: int | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the statement of `matches`, to be `named`, and its parameters; whatever the `size`."""
    most = "-1" if limit is None else str(limit)
    return _MATCHES.replace("{limit}", most), (match_of(query),)


def out_of_step(cursor: Any, tables: Tables, index: TextIndex) -> tuple[list[int], list[int]]:
    """Return the keys of documents that are not indexed, and those of what is no document."""
    lacking, strange = (
        [row[0] for row in cursor.execute(named(statement, tables, index))]
        for statement in (_LACKING, _STRANGE)
    )
    return lacking, strange


def absent(cursor: Any, tables: Tables, index: TextIndex) -> list[str]:
    """Return which of the table, its view and its triggers are not there."""
    name = index.name(tables)
    wanted = [name, f"{name}_items", *(f"{name}_{what}" for what in _TRIGGERS)]
    there = {row[0] for row in cursor.execute("SELECT name FROM sqlite_master")}
    return [one for one in wanted if one not in there]


def differs(connection: sa.Connection, tables: Tables, index: TextIndex) -> bool:
    """Whether other words are indexed than those of the documents; within a write."""
    try:
        connection.exec_driver_sql(named(_CHECK, tables, index))
    except sa.exc.DatabaseError as error:
        if "malformed" in str(error.orig):
            return True
        raise
    return False


def match_of(query: TextQuery) -> str:
    """Return a query as FTS5 has it; every term is quoted, so that none of it is syntax.

    >>> print(match_of(TextQuery(((Term("a"), Term('"b')), (Term("c", True),)), (Term("d"),))))
    (("a" AND \"""b") OR "c"*) NOT ("d")
    """
    groups = [_joined(" AND ", [*map(_quoted, group)]) for group in query.groups]
    found = _joined(" OR ", groups)
    if not query.without:
        return found
    return f"{found} NOT ({' OR '.join(map(_quoted, query.without))})"


def _joined(word: str, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({word.join(parts)})"


def _quoted(term: Term) -> str:
    doubled = term.text.replace('"', '""')
    return f'"{doubled}"{"*" if term.prefix else ""}'


def named(statement: str, tables: Tables, index: TextIndex) -> str:
    """Return a statement with the names of what is meant in it."""
    first, end = key_range(index.collection)
    return statement.format(
        text=index.name(tables),
        items=tables.quoted("items"),
        collection=index.collection,
        first=first,
        end=end,
        tokenize=_TOKENIZE[index.tokenizer],
    )
