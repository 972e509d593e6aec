"""From a store of Haystack to requant and back: python examples/haystack/move.py [FOLDER]

Definitions of WordNet stand in an InMemoryDocumentStore, saved to disk. They become a
RequantDocumentStore in one call, are searched before and after, move to another engine while a
pipeline runs, and go back. Nothing is embedded: the vectors are those that were there.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

import numpy as np
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from requant.integration.haystack import RequantDocumentStore, RequantEmbeddingRetriever

WORDNET = Path(__file__).parent.parent / "wordnet"
K = 10


def definitions(n: int) -> list[Document]:
    """Return definitions of WordNet with their embeddings."""
    vectors = np.load(WORDNET / "vectors_f16.npy")[:n].astype(np.float32).tolist()
    with gzip.open(WORDNET / "items.jsonl.gz", "rt") as lines:
        items = [json.loads(line) for line, _ in zip(lines, vectors, strict=False)]
    return [
        Document(id=one["id"], content=one["text"], meta={"pos": one["pos"]}, embedding=vector)
        for one, vector in zip(items, vectors, strict=True)
    ]


def queries(n: int = 50) -> list[list[float]]:
    """Return the embeddings of queries."""
    floats: list[list[float]] = np.load(WORDNET / "queries_f16.npy")[:n].astype(float).tolist()
    return floats


def retriever_of(kind: str, path: str) -> Any:
    """Open a store, and return a retriever of it."""
    if kind == "haystack":
        return InMemoryEmbeddingRetriever(InMemoryDocumentStore.load_from_disk(path), top_k=K)
    return RequantEmbeddingRetriever(RequantDocumentStore(path, embedding_dim=384), top_k=K)


def measured(kind: str, path: str) -> dict[str, Any]:
    """Search in a process of its own: what was found, milliseconds, and memory beyond imports."""
    command = [sys.executable, __file__, "--measure", kind, path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(kind: str, path: str) -> None:
    before, asked = resident(), queries()
    retriever = retriever_of(kind, path)
    retriever.run(query_embedding=asked[0])
    begun = perf_counter()
    found = [retriever.run(query_embedding=one)["documents"] for one in asked]
    took = (perf_counter() - begun) / len(asked)
    ids = [[one.id for one in row] for row in found]
    print(json.dumps({"ids": ids, "ms": 1000 * took, "memory": resident() - before}))


def resident() -> int:
    """Return the bytes that this process has of its own; mapped files are the page cache's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def bytes_of(path: Path) -> int:
    """Return the bytes of a file, and of all that stands beside it under its name."""
    beside = path.parent.glob(f"{path.name}*")
    files = [file for one in beside for file in (one, *one.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def shared(one: list[list[str]], other: list[list[str]]) -> float:
    """Return the share of results that both have."""
    pairs = zip(one, other, strict=True)
    return sum(len({*a} & {*b}) for a, b in pairs) / sum(map(len, one))


def migrated_under_load(store: RequantDocumentStore) -> int:
    """Move to another engine while a pipeline answers, and return how often it did."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", RequantEmbeddingRetriever(store, top_k=K))
    vector, answers, over = queries(1)[0], [], threading.Event()

    def ask() -> None:
        while not over.is_set():
            found = pipeline.run({"retriever": {"query_embedding": vector}})
            answers.append([one.id for one in found["retriever"]["documents"]])

    asking = threading.Thread(target=ask)
    asking.start()
    report = store.collection.migrate("small", engine="usearch", precision="binary")
    over.set()
    asking.join()
    print(f"migrated to usearch: {report.state}, recall@{K} {report.recall_after:.3f}")
    assert all(len(answer) == K for answer in answers)
    return len(answers)


def main(folder: Path, n: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    saved, path = folder / "store.json", folder / "notes.requant"
    theirs = InMemoryDocumentStore(embedding_similarity_function="cosine")
    theirs.write_documents(definitions(n))
    theirs.save_to_disk(str(saved))

    begun = perf_counter()
    store = RequantDocumentStore.from_existing(saved, path)
    print(f"{store.count_documents():,} documents moved in {perf_counter() - begun:.1f} s")
    store.collection.flush()

    before, after = measured("haystack", str(saved)), measured("requant", str(path))
    print(f"{'':10}{'recall@10':>10}{'ms':>8}{'MB on disk':>12}{'MB resident':>12}")
    for name, told, place in (("haystack", before, saved), ("requant", after, path)):
        recall = shared(before["ids"], told["ids"])
        sizes = f"{bytes_of(place) / 1e6:>12.1f}{told['memory'] / 1e6:>12.1f}"
        print(f"{name:10}{recall:>10.3f}{told['ms']:>8.2f}{sizes}")

    answers = migrated_under_load(store)
    print(f"the pipeline answered {answers} times meanwhile")

    back = InMemoryDocumentStore(embedding_similarity_function="cosine")
    back.write_documents(store.filter_documents())
    back.save_to_disk(str(folder / "back.json"))
    assert back.filter_documents() == theirs.filter_documents()
    store.collection.export(folder / "parquet", format="parquet")
    print(f"back again: {back.count_documents():,} documents, the same")
    store.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
        main(place, int(sys.argv[2]) if len(sys.argv) > 2 else 8000)
