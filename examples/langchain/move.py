"""A store of LangChain becomes one of requant, is moved to another engine in use, and goes back.

python move.py [--from faiss|qdrant|chroma] [--texts 8000] [--queries 200]

Nothing is embedded again, at any step. Prints a line of JSON a step.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

warnings.simplefilter("ignore")  # langchain-community says that nobody maintains it

from langchain_core.runnables import RunnableLambda  # noqa: E402
from stores import made  # noqa: E402
from wordnet import Recorded  # noqa: E402

from requant.integration.langchain import RequantVectorStore  # noqa: E402


def size(*places: Path) -> float:
    """Return the megabytes of files and folders."""
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def measured(step: str, kind: str, place: Path, told: argparse.Namespace, *more: Path) -> None:
    """Search a store in a process of its own, and print what it takes."""
    program = [sys.executable, str(Path(__file__).with_name("measure.py")), kind, str(place)]
    program += [str(told.texts), str(told.queries)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    line = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"step": step, "store": kind, **line, "disk_mb": size(place, *more)}))


class Chain:
    """A chain that answers without a pause, in a thread of its own."""

    def __init__(self, store: RequantVectorStore, questions: list[str]) -> None:
        retriever = store.as_retriever(search_kwargs={"k": 3})
        self._chain = retriever | RunnableLambda(lambda found: [one.page_content for one in found])
        self._questions = questions
        self.expected = [self._chain.invoke(question) for question in questions]
        self.answers, self.wrong = 0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            for question, expected in zip(self._questions, self.expected, strict=True):
                self.wrong += self._chain.invoke(question) != expected
                self.answers += 1

    def __enter__(self) -> Chain:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


def move(kind: str, folder: Path, told: argparse.Namespace) -> None:
    """Do every step for one kind of store."""
    embedding = Recorded()
    before = folder / kind
    existing = made(kind, before, embedding.documents(told.texts), embedding)
    if kind == "qdrant":
        existing.client.close()  # its folder is one process's at a time
    del existing
    gc.collect()
    measured("before", kind, before, told)

    ours = folder / "notes.requant"
    source = before / "notes" if kind == "chroma" else before
    store = RequantVectorStore.from_existing(source, embedding, location=ours, precision="int4")
    store.collection.flush()
    metric = store.collection.metric
    store.close()
    name = "requant" if metric == "l2" else "requant-cosine"
    measured("after", name, ours, told, folder / "notes.requant.indexes")

    with RequantVectorStore(embedding, ours, metric=metric) as store:
        with Chain(store, embedding.queries[:20]) as chain:
            report = store.collection.migrate("next", engine="usearch", precision="int8")
        line = {"step": "migrated", "ok": report.ok, "recall": report.recall_after}
        print(json.dumps({**line, "answers": chain.answers, "wrong": chain.wrong}))
        back(store, folder, embedding, chain)


def back(store: RequantVectorStore, folder: Path, embedding: Recorded, chain: Chain) -> None:
    """Make a FAISS folder of LangChain again, and a Parquet folder for everything else."""
    from langchain_community.vectorstores import FAISS

    items = list(store.collection.iter())
    again = FAISS.from_embeddings(
        [(item.document, item.vector) for item in items],
        embedding,
        [item.metadata for item in items],
        [str(item.id) for item in items],
    )
    again.save_local(str(folder / "again"))
    report = store.collection.export(folder / "notes.parquet", format="parquet")
    same = [
        [one.page_content for one in again.similarity_search(question, k=3)] == expected
        for question, expected in zip(embedding.queries, chain.expected, strict=False)
    ]
    line = {"step": "back", "faiss": len(items), "same": all(same), "parquet": report.rows}
    print(json.dumps(line))


def main() -> None:
    """Move one store after the other."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--from", dest="kind", choices=["faiss", "qdrant", "chroma"])
    asked.add_argument("--texts", type=int, default=8000)
    asked.add_argument("--queries", type=int, default=200)
    told = asked.parse_args()
    for kind in [told.kind] if told.kind else ["faiss", "qdrant", "chroma"]:
        with tempfile.TemporaryDirectory() as folder:
            move(kind, Path(folder), told)


if __name__ == "__main__":
    main()
