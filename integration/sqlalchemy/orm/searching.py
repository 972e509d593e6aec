"""Searches that answer with objects of a session, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from numpy.typing import ArrayLike
from sqlalchemy.orm import Session

from requant.errors import InputError, RequantError
from requant.integration.sqlalchemy.orm.embedding import query_vector
from requant.integration.sqlalchemy.orm.errors import about
from requant.integration.sqlalchemy.orm.mapped import Mapped, connection_of
from requant.quantizers.arrays import Float32s, as_vector

# Keys that are looked up by one statement.
_AT_ONCE = 500
# Rows of a table of values: three parameters each, of the 32,766 that SQLite takes.
_MOST = 10_000
# Options that choose from more than k, or fewer.
_CHOOSING = {"group_by", "group_size", "mmr", "fetch_k", "rerank"}


class Match(NamedTuple):
    """An object and how near it is: higher is better."""

    object: Any
    score: float


class Asked(NamedTuple):
    """One search: of the rows of `cls`, which may be a subclass of the one that has the Vector."""

    mapped: Mapped
    cls: type
    query: Any
    k: int
    where: Any
    how: Mapping[str, Any]


def search(asked: Asked, session: Session, options: Sequence[Any]) -> list[Match]:
    """Return the nearest rows as objects, best first; `options` are those of their loading."""
    found: dict[Any, Any] = {}

    def existing(keys: Sequence[Any]) -> set[Any]:
        key = getattr(asked.cls, asked.mapped.key_name)
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            rows: Any = session.scalars(
                asked.mapped.rows(asked.cls).where(key.in_(part)).options(*options)
            )
            found.update((getattr(one, asked.mapped.key_name), one) for one in rows.unique())
        return set(found)

    return [Match(found[key], score) for key, score in _nearest(asked, session, existing)]


def nearest(asked: Asked, session: Session) -> sa.CTE:
    """Return the nearest rows as a table of `id`, `score` and `rank`, from 1, to be joined."""
    if isinstance(asked.k, int) and asked.k > _MOST:
        raise InputError(f"nearest: k is at most {_MOST}, not {asked.k}")
    key = getattr(asked.cls, asked.mapped.key_name)

    def existing(keys: Sequence[Any]) -> set[Any]:
        parts = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
        statements = (asked.mapped.rows(key).where(key.in_(part)) for part in parts)
        return {one for statement in statements for one in session.scalars(statement)}

    rows = [
        (key, score, rank)
        for rank, (key, score) in enumerate(_nearest(asked, session, existing), 1)
    ]
    columns: Any = (
        sa.column("id", key.type),
        sa.column("score", sa.Double()),
        sa.column("rank", sa.Integer()),
    )
    # Without a name: one statement may join what is nearest to several queries.
    if rows:
        return sa.values(*columns).data(rows).cte()
    empty = [sa.cast(sa.null(), column.type).label(column.name) for column in columns]
    return sa.select(*empty).where(sa.false()).cte()


def _nearest(asked: Asked, session: Session, existing: Any) -> list[tuple[Any, float]]:
    """Return (primary key, score) of the nearest rows that exist.

    The collection may have ids whose rows are gone, deleted by what no session tells of: then more
    are asked for, until there are enough or no more.
    """
    mapped = asked.mapped
    connection = connection_of(session, mapped.home)
    if session.autoflush:
        session.flush()  # what is pending is to be found
        connection = connection_of(session, mapped.home)
    query = asked.query
    if isinstance(query, str):
        if mapped.vector.embed is None:
            raise InputError(f"{mapped.title} has no embed=: search for a vector, not for a text")
        query = query_vector(mapped, query)
    options: dict[str, Any] = {**_restricted(asked), **asked.how, "connection": connection}
    k = asked.k
    while True:
        try:
            pairs = _ask(mapped, as_vector(query, mapped.vector.dim), k, options)
        except RequantError as error:
            raise about(mapped.title, error) from error
        there = existing([key for key, _ in pairs if key is not None])
        found = [pair for pair in pairs if pair[0] in there]
        if len(found) == len(pairs) or len(pairs) < k or _CHOOSING & asked.how.keys():
            return found
        if len(found) >= asked.k:
            return found[: asked.k]
        k *= 2


def _ask(
    mapped: Mapped, query: Float32s, k: int, options: dict[str, Any]
) -> list[tuple[Any, float]]:
    """Return (primary key, score); None for an id that is no primary key."""
    documents = options.get("rerank") is not None
    batch = mapped.collection.search_many(query, k, documents=documents, **options)
    scores = batch.scores[0].tolist()
    return [(mapped.as_key(one), score) for one, score in zip(batch.ids[0], scores, strict=False)]


def _restricted(asked: Asked) -> dict[str, Any]:
    """Return the options of the collection's search: which ids, and which metadata."""
    mapped, where = asked.mapped, asked.where
    key = getattr(asked.cls, mapped.key_name)
    every = mapped.rows(key)
    # What chooses from the nearest is to choose from rows that exist.
    some = asked.cls is not mapped.cls or bool(_CHOOSING & asked.how.keys())
    if where is None or isinstance(where, Mapping):
        return {"where": where, "among": every if some else None}
    if isinstance(where, sa.FromClause):
        where = sa.select(where)
    if isinstance(where, sa.SelectBase):
        return {"among": every.where(key.in_(where)) if some else where}
    try:
        return {"among": every.where(where)}
    except sa.exc.ArgumentError as error:
        raise InputError(
            f"{mapped.title}: where= is an SQL expression on {asked.cls.__name__}, a select of its "
            f"primary keys, or a filter of the collection: {error}"
        ) from error


def asked_of(
    mapped: Mapped, cls: type, query: ArrayLike | str, k: int, where: Any, how: Mapping[str, Any]
) -> Asked:
    """Return what is asked; raises InputError for a k that is none."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"{mapped.title}: k must be a whole number from 1, not {k!r}")
    return Asked(mapped, cls, query, k, where, how)
