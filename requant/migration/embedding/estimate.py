"""What a move to another model would take, told before anything is done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from requant.embeddings import Model, embed
from requant.store import CollectionRow, Reader, Store, key_range

# Documents that are embedded to see how long it takes.
_TRIED = 32


@dataclass(frozen=True)
class Counts:
    """What there is to embed: `lost` items have a vector, and no document to make another from."""

    items: int
    documents: int
    characters: int
    lost: int


@dataclass(frozen=True)
class ReembedPlan:
    """What a move would take; `dim`, `bytes` and `seconds` are reckoned from a few documents.

    `tokens` is what a price is told for, reckoned at four characters each. None without documents.
    """

    model: str
    items: int
    to_embed: int
    without_document: int
    lost: int
    characters: int
    tokens: int
    dim: int | None
    bytes: int | None
    seconds: float | None


def counted(reader: Reader, owner: CollectionRow) -> Counts:
    """Count what a collection has."""
    items, vectors = reader.tables.items.c, reader.tables.vectors
    first, end = key_range(owner.id)
    here = sa.and_(items.key >= first, items.key < end)
    sums = sa.select(
        sa.func.count(),
        sa.func.count(items.document),
        sa.func.coalesce(sa.func.sum(sa.func.length(items.document)), 0),
    ).where(here)
    bare = (
        sa.select(sa.func.count())
        .select_from(reader.tables.items)
        .where(here, items.document.is_(None), sa.exists().where(vectors.c.key == items.key))
    )
    row, lost = reader.rows(sums)[0], reader.rows(bare)[0][0]
    return Counts(int(row[0]), int(row[1]), int(row[2]), int(lost))


def some_documents(reader: Reader, owner: CollectionRow, limit: int = _TRIED) -> list[str]:
    """Return documents from the beginning, the middle and the end of a collection."""
    items = reader.tables.items.c
    first, _ = key_range(owner.id)
    end = reader.state_of(owner).end
    found: dict[int, str] = {}
    for part in range(4):
        start = first + (end - first) * part // 4
        some: sa.Select[Any] = sa.select(items.key, items.document).where(
            items.key >= start, items.key < end, items.document.is_not(None)
        )
        rows = reader.rows(some.order_by(items.key).limit(max(1, limit // 4)))
        found.update({row.key: row.document for row in rows})
    return list(found.values())[:limit]


def estimate(store: Store, owner: CollectionRow, model: Model, options: Any) -> ReembedPlan:
    """Tell what a move would take; a few documents are embedded for it."""
    with store.reading() as reader:
        reader.state_of(owner)
        counts = counted(reader, owner)
        texts = some_documents(reader, owner)
    dim = size = seconds = None
    if texts:
        embed(model, texts[:1], "document", None, options=options)  # a first call loads things
        begun = time.perf_counter()
        dim = embed(model, texts, "document", None, options=options).shape[1]
        taken = time.perf_counter() - begun
        seconds = taken * counts.characters / max(1, sum(map(len, texts)))
        size = counts.documents * dim * 4 + counts.characters
    return ReembedPlan(
        model.shown, counts.items, counts.documents, counts.items - counts.documents, counts.lost,
        counts.characters, -(-counts.characters // 4), dim, size, seconds,
    )  # fmt: skip
