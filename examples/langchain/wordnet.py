"""Definitions of WordNet as documents, and an embedding that knows their vectors already."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

DATA = Path(__file__).resolve().parent.parent / "wordnet"
K = 10


class Recorded(Embeddings):
    """Stands for a model: texts and queries were embedded by all-MiniLM-L6-v2 beforehand."""

    def __init__(self) -> None:
        with gzip.open(DATA / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
            self.items = [json.loads(line) for line in lines]
        self.queries = [row["text"] for row in json.loads((DATA / "queries.json").read_text())]
        self.vectors = np.load(DATA / "vectors_f16.npy").astype(np.float32)
        asked = np.load(DATA / "queries_f16.npy").astype(np.float32)
        texts = [item["text"] for item in self.items]
        self._known = dict(zip(texts, self.vectors, strict=True))
        self._asked = dict(zip(self.queries, asked, strict=True))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the recorded vectors; LangChain's Qdrant asks with a text of its own for one."""
        return [self._known.get(text, self.vectors[0]).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the recorded vector."""
        return self._asked[text].tolist()

    def documents(self, count: int) -> list[Document]:
        """Return the first definitions; ids are UUIDs, which Qdrant takes as well."""
        return [
            Document(
                id=str(uuid.uuid5(uuid.NAMESPACE_OID, item["id"])),
                page_content=item["text"],
                metadata={"name": item["id"], "pos": item["pos"], "lexname": item["lexname"]},
            )
            for item in self.items[:count]
        ]

    def recall(self, found: list[list[Document]], count: int) -> float:
        """Return the share of results that are at least as near as the K-th nearest."""
        hits = 0
        for query, documents in zip(self.queries, found, strict=False):
            vector = self._asked[query]
            least = np.partition(self.vectors[:count] @ vector, -K)[-K] - 1e-5
            hits += sum(self._known[one.page_content] @ vector >= least for one in documents)
        return hits / (K * len(found))
