"""LlamaIndex: what its store adds to `Collection.search`, in microseconds a query."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from llama_index.core.schema import NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from rich.console import Console
from rich.table import Table

from benchmarks.dataset import Dataset, K, load
from benchmarks.timing import in_turn
from requant.integration.llama_index import RequantVectorStore

console = Console()
_ROUNDS, _BLOCK = 15, 50


def main(data: Path | None, queries: int) -> None:
    """Measure nodes as a splitter makes them, with three relationships, and plain ones."""
    found = load(data)
    table = Table("nodes", "Collection.search, us", "store.query, us", "added, us (target: 130)")
    for kind, related in (("plain", False), ("with source, previous and next", True)):
        with tempfile.TemporaryDirectory() as folder:
            store = RequantVectorStore(Path(folder) / "notes.requant")
            _fill(store, found, related)
            table.add_row(kind, *_measured(store, found.queries[:queries]))
            store.close()
    console.print(table)


def _fill(store: RequantVectorStore, found: Dataset, related: bool) -> None:
    for first in range(0, len(found.items), 4096):
        part = range(first, min(first + 4096, len(found.items)))
        store.add([_node(place, found, related) for place in part])
    collection = store.collection
    assert collection is not None
    collection.flush()


def _node(place: int, found: Dataset, related: bool) -> TextNode:
    item = found.items[place]
    node = TextNode(
        id_=item["id"],
        text=item["text"],
        metadata={"pos": item["pos"], "lexname": item["lexname"]},
        embedding=found.vectors[place].tolist(),
    )
    if related:
        node.relationships = {
            NodeRelationship.SOURCE: _info(f"document {place // 20}", ObjectType.DOCUMENT),
            NodeRelationship.PREVIOUS: _info(f"node {place - 1}", ObjectType.TEXT),
            NodeRelationship.NEXT: _info(f"node {place + 1}", ObjectType.TEXT),
        }
    return node


def _info(name: str, kind: ObjectType) -> RelatedNodeInfo:
    return RelatedNodeInfo(node_id=name, node_type=kind, metadata={"pos": "noun"}, hash="0" * 64)


def _measured(store: RequantVectorStore, queries: np.ndarray) -> tuple[str, str, str]:
    """Return the medians; both are asked the same questions, in turn."""
    collection = store.collection
    assert collection is not None
    asked = [row.tolist() for row in queries]
    times = in_turn(
        {
            "search": lambda number: collection.search(asked[number], K),
            "query": lambda number: store.query(VectorStoreQuery(asked[number], K)),
        },
        len(asked),
        rounds=_ROUNDS,
        block=_BLOCK,
    )
    search, query = np.array(times["search"]) * 1e3, np.array(times["query"]) * 1e3
    return (
        f"{np.median(search):.0f}",
        f"{np.median(query):.0f}",
        f"{np.median(query - search):.0f}",
    )
