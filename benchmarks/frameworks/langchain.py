"""LangChain: what the store adds to `Collection.search`, and what LangChain's FAISS takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.dataset import Dataset, load
from benchmarks.frameworks.langchain_child import Numbered
from requant.integration.langchain import RequantVectorStore

# Index, and candidates for each result: for recall 0.99 and more.
FIRST_PASSES = {"int2": (4.0, 8.0), "int4": (2.5,), "int8": (1.5,)}
console = Console()


def main(data: Path | None, queries: int) -> None:
    """Measure both."""
    found = load(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "vectors.npy", found.vectors)
        np.save(folder / "queries.npy", found.queries[:queries])
        kept = by_langchain(found, folder)
        begun = time.perf_counter()
        ours = str(folder / "notes.requant")
        store = RequantVectorStore.from_existing(
            kept, Numbered(found.queries.tolist()), location=ours, precision="int4"
        )
        console.print(f"from_existing: {time.perf_counter() - begun:.1f} s")
        for precision in FIRST_PASSES:
            store.collection.add_index(precision, engine="faiss", precision=precision)
        store.collection.flush()
        overhead(store, found)
        store.close()
        beside(kept, ours, folder)
        console.print(f"an id that is stored, added again to LangChain's FAISS: {updated(kept)}")


def by_langchain(data: Dataset, folder: Path) -> str:
    """Make LangChain's FAISS folder, as its users have one."""
    warnings.simplefilter("ignore")  # langchain-community says that nobody maintains it
    from langchain_community.vectorstores import FAISS

    texts = [item["text"] for item in data.items]
    pairs = zip(texts, data.vectors, strict=True)
    metadata = [{"pos": item["pos"], "lexname": item["lexname"]} for item in data.items]
    ids = [item["id"] for item in data.items]
    made = FAISS.from_embeddings(pairs, Numbered([]), metadata, ids)
    made.save_local(str(folder / "faiss"))
    return str(folder / "faiss")


def updated(kept: str) -> str:
    """Tell what LangChain's FAISS makes of a text whose id is stored already."""
    from langchain_community.vectorstores import FAISS

    embedding = Numbered([[0.0] * 384])
    store = FAISS.load_local(kept, embedding, allow_dangerous_deserialization=True)
    name = store.index_to_docstore_id[0]
    try:
        store.add_texts(["0"], ids=[name])
    except ValueError as error:
        return str(error)[:60]
    return "replaced"


def overhead(store: RequantVectorStore, data: Dataset, rounds: int = 1000) -> None:
    """Print microseconds a query beyond `Collection.search` and the embedding.

    These are timed within the very call that they are taken from: what a store adds is a hundredth
    of what a search takes, and would be lost in how much one search differs from the next.
    """
    table = Table("k", "Collection.search, us", "store adds, us", "with scores, us")
    inside, collection, embedding = Inside(), cast("Any", store.collection), store.embeddings
    collection.search = inside.timed(collection.search)
    embedding.embed_query = inside.timed(embedding.embed_query)  # type: ignore[method-assign]
    asked: dict[str, Any] = {"index": "int2", "oversample": 8.0}
    for k in (4, 10):
        within: list[int] = []
        added = []
        for search in (store.similarity_search, store.similarity_search_with_score):
            beyond: list[int] = []
            for turn in range(rounds):
                inside.spent, begun = 0, time.perf_counter_ns()
                search(str(turn % len(data.queries)), k, **asked)
                beyond.append(time.perf_counter_ns() - begun - inside.spent)
                within.append(inside.spent)
            added.append(f"{np.median(beyond) / 1e3:.0f}")
        table.add_row(str(k), f"{np.median(within) / 1e3:.0f}", *added)
    del collection.search, embedding.embed_query
    console.print(table)


class Inside:
    """Nanoseconds spent in what is timed."""

    def __init__(self) -> None:
        self.spent = 0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, whose time is added."""

        def timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter_ns()
            try:
                return call(*given, **named)
            finally:
                self.spent += time.perf_counter_ns() - begun

        return timed


def beside(kept: str, ours: str, folder: Path) -> None:
    """Print recall, CPU and memory of both, each in a process of its own."""
    table = Table("store", "recall@10", "ms a query", "own MB", "mapped MB", "of 10, filtered")
    children = [("faiss", kept, "-", 1.0)]
    children += [
        ("requant", ours, name, factor)
        for name, factors in FIRST_PASSES.items()
        for factor in factors
    ]
    for kind, place, index, factor in children:
        program = [sys.executable, "-m", "benchmarks.frameworks.langchain_child", kind, place]
        program += [index, str(factor), str(folder / "vectors.npy"), str(folder / "queries.npy")]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        table.add_row(
            "LangChain's FAISS" if kind == "faiss" else f"requant, {index} x {factor:g}",
            f"{told['recall']:.4f}", f"{told['ms']:.3f}", f"{told['own']:.0f}",
            f"{told['mapped']:.0f}",
            f"{told['filtered']:.1f}",
        )  # fmt: skip
    console.print(table)
