"""LangChain's own stores, made here and now, become one of requant in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from requant.integration.langchain import RequantVectorStore

EMBEDDING = DeterministicFakeEmbedding(size=24)
DOCUMENTS = [
    Document(
        id=f"00000000-0000-4000-8000-{n:012}",
        page_content=f"text number {n}",
        metadata={"n": n, "word": f"w{n % 3}"},
    )
    for n in range(60)
]
NAMES = [document.id for document in DOCUMENTS]


def faiss_store(folder: Path) -> tuple[Any, str]:
    from langchain_community.vectorstores import FAISS

    store = FAISS.from_documents(DOCUMENTS, EMBEDDING)
    store.save_local(str(folder))
    return store, str(folder)


def qdrant_store(folder: Path) -> tuple[Any, str]:
    from langchain_qdrant import QdrantVectorStore

    store = QdrantVectorStore.from_documents(
        DOCUMENTS, EMBEDDING, path=str(folder), collection_name="notes"
    )
    return store, str(folder)


def chroma_store(folder: Path) -> tuple[Any, str]:
    from langchain_chroma import Chroma

    store = Chroma.from_documents(
        DOCUMENTS, EMBEDDING, persist_directory=str(folder), collection_name="notes"
    )
    return store, str(folder / "notes")


def lancedb_store(folder: Path) -> tuple[Any, str]:
    from langchain_community.vectorstores import LanceDB

    store = LanceDB(uri=str(folder), embedding=EMBEDDING, table_name="notes")
    store.add_texts(
        [document.page_content for document in DOCUMENTS],
        [document.metadata for document in DOCUMENTS],
        NAMES,
    )
    return store, str(folder / "notes.lance")


@pytest.mark.parametrize("make", [faiss_store, qdrant_store, chroma_store, lancedb_store])
def test_it_answers_as_before(tmp_path: Path, make: Any) -> None:
    before, source = make(tmp_path / "before")
    # A table of LanceDB does not tell how LangChain compares its vectors.
    told = {"metric": "l2"} if make is lancedb_store else {}
    with RequantVectorStore.from_existing(
        source, EMBEDDING, location=tmp_path / "notes.requant", **told
    ) as store:
        key = lambda document: document.id  # noqa: E731
        assert sorted(store.get_by_ids(NAMES), key=key) == sorted(DOCUMENTS, key=key)
        for query in ("text number 7", "something else", "w1"):
            texts = [d.page_content for d in before.similarity_search(query, k=7)]
            found = store.similarity_search(query, k=7)
            assert [d.page_content for d in found] == texts
