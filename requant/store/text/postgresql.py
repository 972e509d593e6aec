"""The words of documents in PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from requant.errors import UnsupportedError
from requant.store.schema import Tables
from requant.store.text.definitions import TextIndex
from requant.store.text.syntax import TextQuery


def create(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Make an index that holds nothing yet, and let triggers keep it."""
    raise UnsupportedError("full text is not there yet for PostgreSQL")


def drop(connection: sa.Connection, tables: Tables, index: TextIndex) -> None:
    """Remove what `create` has made, as far as it is there."""


def fill(connection: sa.Connection, tables: Tables, index: TextIndex, first: int, end: int) -> None:
    """Index the items of `first <= key < end` that are not yet."""


def matches(
    cursor: Any, tables: Tables, index: TextIndex, query: TextQuery, limit: int | None
) -> list[tuple[int, float]]:
    """Return (key, score) of what matches, best first by ts_rank_cd; all of it without a limit."""
    return []
