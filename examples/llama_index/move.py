"""A store of LlamaIndex becomes one of requant, is moved to another engine in use, and goes back.

python move.py [--from simple|qdrant|chroma] [--nodes 8000] [--queries 50]

Nothing is embedded again, at any step. Prints a line of JSON a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.llms import MockLLM
from stores import make
from wordnet import Recorded, nodes

from requant.integration.llama_index import RequantVectorStore


def size(*places: Path) -> float:
    """Return the megabytes of files and folders."""
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def measured(step: str, kind: str, place: Path, told: argparse.Namespace, *more: Path) -> None:
    """Search a store in a process of its own, and print what it takes."""
    program = [sys.executable, str(Path(__file__).with_name("measure.py")), kind, str(place)]
    program += [str(told.nodes), str(told.queries)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    line = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"step": step, "store": kind, **line, "disk_mb": size(place, *more)}))


class Engine:
    """A query engine that answers without a pause, in a thread of its own."""

    def __init__(self, store: RequantVectorStore) -> None:
        """Ask it a few questions, whose answers must not change."""
        index = VectorStoreIndex.from_vector_store(store)
        self._engine = index.as_query_engine(similarity_top_k=3)
        self._questions = [f"query {number}" for number in range(5)]
        self._expected = [self._answer(question) for question in self._questions]
        self.answers, self.wrong = 0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _answer(self, question: str) -> list[tuple[str, float | None]]:
        found = self._engine.query(question).source_nodes
        return [(each.node.node_id, each.score) for each in found]

    def _run(self) -> None:
        while not self._over.is_set():
            for question, expected in zip(self._questions, self._expected, strict=True):
                self.wrong += self._answer(question) != expected
                self.answers += 1

    def __enter__(self) -> Engine:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()


def move(kind: str, folder: Path, told: argparse.Namespace) -> None:
    """Do every step for one kind of store."""
    before, ours = folder / kind, folder / "notes.requant"
    make(kind, before, nodes(told.nodes))
    measured("before", kind, before, told)

    begun = time.perf_counter()
    store = RequantVectorStore.from_existing(before, ours, engine="usearch", precision="int8")
    seconds = round(time.perf_counter() - begun, 1)
    collection = store.collection
    assert collection is not None
    collection.flush()
    print(json.dumps({"step": "from_existing", "nodes": len(collection), "seconds": seconds}))
    measured("after", "requant", ours, told, folder / "notes.requant.indexes")

    with Engine(store) as engine:
        report = collection.migrate("moved", engine="faiss", precision="int4")
    told_of = {"ok": report.ok, "answers_meanwhile": engine.answers, "wrong": engine.wrong}
    print(json.dumps({"step": "migrate", "to": "faiss int4", **told_of}))

    whole = collection.export(folder / "parquet", format="parquet")
    again = RequantVectorStore.from_existing(folder / "parquet", folder / "again.requant")
    same = again.get_nodes() == store.get_nodes()
    print(json.dumps({"step": "export", "nodes": whole.rows, "same_again": same}))
    again.close()
    store.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--from", dest="kind", default="simple")
    options.add_argument("--nodes", type=int, default=8000)
    options.add_argument("--queries", type=int, default=50)
    asked = options.parse_args()
    Settings.llm, Settings.embed_model = MockLLM(), Recorded()
    with tempfile.TemporaryDirectory() as name:
        move(asked.kind, Path(name), asked)
