"""Definitions of WordNet as nodes of LlamaIndex, with vectors that were made before."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

DATA = Path(__file__).resolve().parent.parent / "wordnet"
QUERIES = np.load(DATA / "queries_f16.npy").astype(np.float32)
VECTORS = np.load(DATA / "vectors_f16.npy").astype(np.float32)
K = 10


def nodes(count: int) -> list[TextNode]:
    """Return definitions as nodes; those of one part of speech are of one document."""
    with gzip.open(DATA / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    return [
        TextNode(
            id_=str(uuid.uuid5(uuid.NAMESPACE_OID, item["id"])),  # which Qdrant takes as well
            text=item["text"],
            metadata={"name": item["id"], "pos": item["pos"], "lexname": item["lexname"]},
            embedding=vector.tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=item["pos"])},
        )
        for item, vector in zip(items, VECTORS, strict=False)
    ]


class Recorded(BaseEmbedding):
    """Embeds "query 7" as the recorded query 7, and refuses everything else."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return [float(value) for value in QUERIES[int(query.removeprefix("query "))]]

    def _get_text_embedding(self, text: str) -> list[float]:
        raise AssertionError(f"embedded again: {text!r}")

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def recall(found: list[list[float]], count: int) -> float:
    """Return how many results are as near as the tenth of an exact search."""
    unit = VECTORS[:count] / np.linalg.norm(VECTORS[:count], axis=1, keepdims=True)
    asked = QUERIES[: len(found)]
    scores = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ unit.T
    tenth = np.sort(scores, axis=1)[:, -K]
    hits = [
        sum(one >= least - 1e-5 for one in row) for row, least in zip(found, tenth, strict=True)
    ]
    return float(np.mean(hits) / K)
