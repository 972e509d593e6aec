"""The workbench of the benchmarks: a database full of the data, and FAISS beside it by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

import requant
from benchmarks.dataset import Dataset, K
from requant import quantizers

# What each first pass must reach, and the oversampling that is tried for it, the least first.
TARGETS = {"binary": 0.99, "int2": 0.99, "int4": 0.995, "int8": 0.99}
OVERSAMPLES = (1.0, 1.2, 1.4, 1.6, 2.0, 2.4, 2.8, 3.0, 3.2, 3.6, 4.0, 6.0, 8.0, 10.0, 12.0, 13.0,
               14.0, 15.0, 16.0, 18.0, 20.0, 24.0)  # fmt: skip


class ByHand:
    """An index of ours, opened and driven with FAISS alone."""

    def __init__(self, bench: Bench, precision: str) -> None:
        """Read the file that requant published, and encode the queries beforehand."""
        statement = (
            "SELECT i.id, g.file, q.body FROM requant_indexes i "
            "JOIN requant_generations g ON g.index_id = i.id AND g.generation = i.generation "
            "JOIN requant_quantizers q ON q.fingerprint = g.fingerprint WHERE i.name = ?"
        )
        with bench.database.engine.connect() as connection:
            number, file, body = connection.exec_driver_sql(statement, (precision,)).one()
        self.path = bench.folder / "bench.requant.indexes" / str(number) / file
        quantizer = quantizers.from_bytes(body)
        codes = quantizer.encode_query(bench.data.queries, quantizer.metrics[0])
        binary = precision == "binary"
        self.queries = codes if binary else codes.astype(np.float32)
        read = faiss.read_index_binary if binary else faiss.read_index
        self.index = read(str(self.path))

    def ask(self, candidates: int, i: int) -> object:
        """Search for one query."""
        return self.index.search(self.queries[i : i + 1], candidates)

    def rescored(self, data: Dataset, candidates: int, count: int) -> object:
        """Search for many queries and rescore with every float32 vector in memory."""
        _, keys = self.index.search(self.queries[:count], candidates)
        rows = keys & ((1 << 40) - 1)
        best = []
        for i in range(count):
            scores = data.vectors[rows[i]] @ data.queries[i]
            order = np.argsort(-scores)[:K]
            best.append((rows[i][order], scores[order]))
        return best


@dataclass
class Bench:
    """The data, a database made of it, and where to print."""

    data: Dataset
    folder: Path
    rounds: int
    console: Console
    oversample: dict[str, float] = field(default_factory=dict)
    by_hand: dict[str, ByHand] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Load everything into a fresh database and build an index a precision."""
        self.database = requant.open(self.folder / "bench.requant")
        self.items = self.database.create_collection("wordnet", self.data.vectors.shape[1])
        self.upsert_seconds = self._load()
        for precision, target in TARGETS.items():
            self.items.add_index(precision, engine="faiss", precision=precision)
            self.oversample[precision] = self._least_oversample(precision, target)
            self.by_hand[precision] = ByHand(self, precision)

    def ask(self, precision: str, oversample: float, i: int) -> object:
        """Search for one query with everything that belongs to it."""
        query = self.data.queries[i]
        return self.items.search(query, K, oversample=oversample, index=precision)

    def recall(self, precision: str, oversample: float) -> float:
        """Return recall@10 over all queries."""
        found = self.items.search_many(self.data.queries, K, oversample=oversample, index=precision)
        return self.data.recall(found.scores)

    def show(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Print one table."""
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, justify="right" if column else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def _load(self) -> float:
        rows = self.data.items
        ids = [row["id"] for row in rows]
        documents = [row["text"] for row in rows]
        metadata = [{"pos": row["pos"], "lexname": row["lexname"]} for row in rows]
        start = time.process_time()
        self.items.upsert(ids, self.data.vectors, documents, metadata)
        return time.process_time() - start

    def _least_oversample(self, precision: str, target: float) -> float:
        for oversample in OVERSAMPLES:
            if self.recall(precision, oversample) >= target:
                return oversample
        return OVERSAMPLES[-1]
