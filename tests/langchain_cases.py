"""Embeddings for the tests of LangChain's store: texts that say their own vectors."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings


class Spoken(Embeddings):
    """Embeds "1 0.5" as [1.0, 0.5], and counts what it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        return [[float(number) for number in text.split("|")[0].split()] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Returns(Embeddings):
    """Embeds everything as what it was told."""

    def __init__(self, embedded: object) -> None:
        self.embedded = embedded

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embedded  # type: ignore[return-value]

    def embed_query(self, text: str) -> list[float]:
        return self.embedded  # type: ignore[return-value]


def contents(store):
    """Return everything that is stored: ids, texts, metadata, vectors."""
    items = store.collection.get(vectors=True)
    return [(i.id, i.document, i.metadata, i.vector.tolist()) for i in items]
