"""Metadata documents in a real database, and the question which of them a filter finds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    MetaData,
    Table,
    Text,
    cast,
    create_engine,
    select,
)
from sqlalchemy.pool import StaticPool

from requant.filters import Columns, compile_where

ITEMS = Table(
    "filtered_items",
    MetaData(),
    Column("key", BigInteger, primary_key=True),
    Column("metadata", Text),
    Column("document", Text),
    Column("vector", Text),
)
COLUMNS = Columns(
    ITEMS.c.metadata,
    {"id": cast(ITEMS.c.key, Text), "document": ITEMS.c.document},
    ITEMS.c.vector.is_not(None),
)


def sqlite_engine() -> Engine:
    """Return an engine on one SQLite database in memory."""
    return create_engine("sqlite://", poolclass=StaticPool)


def find(
    engine: Engine,
    documents: Sequence[Any],
    where: Mapping[str, Any],
    texts: Sequence[str | None] | None = None,
) -> list[int]:
    """Return the numbers of the items that the filter finds; a None is an SQL NULL.

    `documents` are their metadata, `texts` what they have beside it; every third has no vector.
    """
    rows = [
        {
            "key": key,
            "metadata": None if one is None else json.dumps(one, ensure_ascii=False),
            "document": texts[key] if texts is not None else None,
            "vector": None if key % 3 == 2 else "there",
        }
        for key, one in enumerate(documents)
    ]
    with engine.connect() as connection:
        ITEMS.create(connection, checkfirst=True)
        connection.execute(ITEMS.insert(), rows)
        found = compile_where(where, COLUMNS, engine.dialect.name)
        query = select(ITEMS.c.key).where(found).order_by(ITEMS.c.key)
        keys = list(connection.scalars(query))
        connection.rollback()
    return keys
