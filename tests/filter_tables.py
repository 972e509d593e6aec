"""Metadata documents in a real database, and the question which of them a filter finds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, Text, create_engine, select
from sqlalchemy.pool import StaticPool

from requant.filters import compile_where

ITEMS = Table(
    "filtered_items",
    MetaData(),
    Column("key", BigInteger, primary_key=True),
    Column("metadata", Text),
)


def sqlite_engine() -> Engine:
    """Return an engine on one SQLite database in memory."""
    return create_engine("sqlite://", poolclass=StaticPool)


def find(engine: Engine, documents: Sequence[Any], where: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the documents that the filter finds; a None is an SQL NULL."""
    rows = [
        {"key": key, "metadata": None if one is None else json.dumps(one, ensure_ascii=False)}
        for key, one in enumerate(documents)
    ]
    with engine.connect() as connection:
        ITEMS.create(connection, checkfirst=True)
        connection.execute(ITEMS.insert(), rows)
        found = compile_where(where, ITEMS.c.metadata, engine.dialect.name)
        query = select(ITEMS.c.key).where(found).order_by(ITEMS.c.key)
        keys = list(connection.scalars(query))
        connection.rollback()
    return keys
