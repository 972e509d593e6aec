"""Retrieval by words and by nearness together."""

from __future__ import annotations

from haystack.dataclasses import Document

from requant.collection import Collection
from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.kept import (
    Documents,
    Filters,
    asks,
    narrowed,
    positive,
    query_of,
    retrieved,
)
from requant.search import Hit


def by_words_and_nearness(
    kept: Documents,
    query: str,
    embedding: list[float],
    filters: Filters | None,
    top_k: int,
    embeddings: bool,
) -> list[Document]:
    """Return the documents that fit a query and its embedding, best first."""
    if not isinstance(query, str):
        raise DocumentError(f"query is a text, not {type(query).__name__}")
    vector = query_of(embedding, kept.dim)
    asks(filters)
    if not positive(top_k):
        return []

    def work(found: Collection) -> list[Hit]:
        if not found.full_text:
            found.index_text()
        where = narrowed(found, filters)
        hits = found.search_hybrid(query, vector, k=top_k, where=where)
        if not embeddings or not hits:
            return hits
        vectors = {
            item.id: item.vector for item in found.get([hit.id for hit in hits], vectors=True)
        }
        return [hit._replace(vector=vectors.get(hit.id)) for hit in hits]

    return retrieved(kept.asked(work, list), kept.door.metric, scale=False)
