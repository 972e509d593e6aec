"""Retrieval by words and by nearness together."""

from __future__ import annotations

from typing import Any

from haystack.dataclasses import Document

from requant.errors import UnsupportedError
from requant.integration.haystack.errors import DocumentError, telling
from requant.integration.haystack.kept import Documents, Filters, asked, positive, retrieved


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
    vector = asked(embedding, kept.dim)
    found: Any = kept.door.found()
    if found is None or not positive(top_k):
        return []
    with telling():
        if not hasattr(found, "search_hybrid"):
            raise UnsupportedError("this release of requant has no full text: use embeddings alone")
        if not found.full_text:
            found.index_text()
        where = kept.narrowed(found, filters)
        hits = found.search_hybrid(query, vector, k=top_k, where=where)
    if embeddings and hits:
        vectors = found.get([hit.id for hit in hits], vectors=True)
        by_id = {item.id: item.vector for item in vectors}
        hits = [hit._replace(vector=by_id.get(hit.id)) for hit in hits]
    return retrieved(hits, found.metric, scale=False)
