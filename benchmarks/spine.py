"""requant beside the engines driven by hand, in one run: `make bench`, or

    python -m benchmarks.spine [--data FOLDER] [--rounds N] [SECTION ...]

FOLDER holds the full WordNet files (benchmarks/rebuild_data.py makes them); without it the subset
in examples/ is measured. Times are CPU times of one thread; contenders take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

import requant
from benchmarks.dataset import Dataset, K, load
from benchmarks.engines import engines, own
from benchmarks.timing import cpu_seconds, in_turn, ratio
from requant import quantizers

# What each first pass must reach, and the oversampling that is tried for it, the least first.
TARGETS = {"binary": 0.99, "int2": 0.99, "int4": 0.995, "int8": 0.99}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FLAT, REFINED = "FAISS IndexFlatIP", "FAISS SQ8 + RefineFlat, k_factor 2"
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


def single(bench: Bench) -> None:
    """A query at a time at equal recall, everything included, beside FAISS's exact indexes."""
    data, contenders = bench.data, exact_indexes(bench.data)
    recalls, sizes = {}, {}
    for precision, factor in bench.oversample.items():
        candidates = round(K * factor)
        name = f"requant {precision}, {candidates} candidates"
        contenders[name] = partial(bench.ask, precision, factor)
        recalls[name] = f"{bench.recall(precision, factor):.4f}"
        file_bytes = bench.by_hand[precision].path.stat().st_size
        sizes[name] = f"1/{data.vectors.nbytes / file_bytes:.1f}"
        contenders["  FAISS alone on these codes" + " " * len(sizes)] = partial(
            bench.by_hand[precision].ask, candidates
        )
    times = in_turn(contenders, len(data.queries), bench.rounds)
    rows = [
        [
            name.rstrip(),
            recalls.get(name, ""),
            f"{np.median(taken):.3f}",
            part(ratio(times, name, FLAT)),
            part(ratio(times, name, REFINED)),
            sizes.get(name, ""),
        ]
        for name, taken in times.items()
    ]
    columns = ["", "recall@10", "CPU ms", "of FlatIP", "of SQ8+Refine", "index/float32"]
    bench.show(f"One query at a time, {len(data.vectors):,} x 384, k = {K}", columns, rows)


def exact_indexes(data: Dataset) -> dict[str, Callable[[int], object]]:
    """Return the searches of FAISS's own exact and refined indexes."""
    flat = faiss.IndexFlatIP(data.vectors.shape[1])
    flat.add(data.vectors)
    coarse = faiss.IndexScalarQuantizer(
        data.vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    refined = faiss.IndexRefineFlat(coarse)
    refined.train(data.vectors)
    refined.add(data.vectors)
    refined.k_factor = 2
    return {
        FLAT: lambda i: flat.search(data.queries[i : i + 1], K),
        REFINED: lambda i: refined.search(data.queries[i : i + 1], K),
    }


def overhead(bench: Bench) -> None:
    """What a query costs beyond FAISS's own search for the same candidates."""
    rows = []
    for precision, hand in bench.by_hand.items():
        for candidates in (10, 160):
            contenders: dict[str, Callable[[int], object]] = {
                "ours": partial(bench.ask, precision, candidates / K),
                "raw": partial(hand.ask, candidates),
            }
            times = in_turn(contenders, len(bench.data.queries), bench.rounds)
            beyond = np.median(np.subtract(times["ours"], times["raw"])) * 1e3
            raw = np.median(times["raw"]) * 1e3
            rows.append([precision, str(candidates), f"{raw:.0f}", f"{beyond:.0f}"])
    columns = ["", "candidates", "FAISS alone, us", "beyond it, us"]
    bench.show("requant's share of a single query (CPU)", columns, rows)


def batch(bench: Bench) -> None:
    """1,000 queries at once, beside FAISS's batch search and a NumPy rescore in RAM."""
    queries, rows = bench.data.queries[:1000], []
    for precision, hand in bench.by_hand.items():
        factor = bench.oversample[precision]
        search_many = bench.items.search_many
        ours = partial(search_many, queries, K, oversample=factor, index=precision)
        theirs = partial(hand.rescored, bench.data, round(K * factor), len(queries))
        pairs = [(cpu_seconds(ours, 1), cpu_seconds(theirs, 1)) for _ in range(bench.rounds)]
        mine, by_hand = np.median(pairs, axis=0) * 1e3
        quotient = np.median([a / b for a, b in pairs])
        rows.append([precision, f"{mine:.0f}", f"{by_hand:.0f}", f"{quotient:.2f}"])
    columns = ["", "search_many, ms", "FAISS batch + NumPy in RAM, ms", "ratio"]
    bench.show(f"{len(queries):,} queries at once (CPU)", columns, rows)


def encoding(bench: Bench) -> None:
    """Encoding, in copies of the input, and beside sentence-transformers where it is installed."""
    vectors = bench.data.vectors[:100_000]
    target = np.empty_like(vectors)
    copy = cpu_seconds(lambda: np.copyto(target, vectors))
    sample = vectors[:: max(len(vectors) // 10_000, 1)]
    cases = {
        "int8": quantizers.fit("int8", sample),
        "int8, sentence-transformers": quantizers.MinMaxQuantizer.fit(sample),
        "signs (ubinary)": quantizers.BinaryQuantizer.signs(vectors.shape[1]),
        "binary, 2 bits, rotated": quantizers.fit("binary", sample),
        "int2": quantizers.fit("int2", sample),
        "int4": quantizers.fit("int4", sample),
    }
    rows = []
    for name, quantizer in cases.items():
        taken = cpu_seconds(partial(quantizer.encode, vectors))
        tracemalloc.start()
        size = quantizer.encode(vectors).nbytes
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append([name, f"{taken / copy:.2f}", f"{peak / size:.2f}", ""])
    their = their_encoding(vectors)
    for row in rows:
        if row[0] in their:
            row[3] = f"{float(row[1]) * copy / their[row[0]]:.3f}"
    columns = ["", "copies of the input", "peak memory / output", "of sentence-transformers"]
    bench.show(f"Encoding {len(vectors):,} x 384 (CPU)", columns, rows)


def their_encoding(vectors: Any) -> dict[str, float]:
    """Return the CPU seconds of sentence-transformers' quantize_embeddings, if it is there."""
    try:
        from sentence_transformers.util.quantization import quantize_embeddings
    except ImportError:
        return {}
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    int8 = cpu_seconds(lambda: quantize_embeddings(vectors, "int8", ranges=ranges))
    signs = cpu_seconds(lambda: quantize_embeddings(vectors, "ubinary"))
    return {"int8": int8, "int8, sentence-transformers": int8, "signs (ubinary)": signs}


def loading(bench: Bench) -> None:
    """Bulk upsert, import, and what a process that only searches keeps in memory."""
    count = len(bench.data.vectors)
    rows = [["bulk upsert, CPU us a row", f"{bench.upsert_seconds / count * 1e6:.1f}"]]
    start = "import time; t = time.perf_counter(); import requant; print(time.perf_counter() - t)"
    seconds = float(np.median([float(in_child(start)) for _ in range(5)]))
    rows.append(["import requant, s", f"{seconds:.3f}"])
    engines = "import sys, requant; print(sorted({'faiss', 'usearch'} & set(sys.modules)))"
    rows.append(["engines imported by it", in_child(engines)])
    for precision in TARGETS:
        bench.items.use_index(precision)
        extra = json.loads(in_child(SEARCHING, str(bench.folder / "bench.requant")))
        rows.append([f"resident memory of a searching process, {precision}, MB", f"{extra:.0f}"])
    bench.show("Loading", ["", "measured"], rows)


SEARCHING = """
import sys, resource, numpy as np, faiss
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
before = resident()
import requant
items = requant.open(sys.argv[1]).collection("wordnet")
queries = np.random.default_rng(0).standard_normal((500, items.dim)).astype(np.float32)
for query in queries:
    items.search(query)
print(resident() - before)
"""


def in_child(program: str, *arguments: str) -> str:
    """Run a program in a new interpreter and return what it prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def part(share: float) -> str:
    """Show a share as people say it: 1/12.3, or 2.4 x."""
    return f"1/{1 / share:.1f}" if share < 1 else f"{share:.2f} x"


SECTIONS = {
    "single": single,
    "overhead": overhead,
    "batch": batch,
    "encoding": encoding,
    "loading": loading,
    "engines": engines,
    "own": own,
}


def main() -> None:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the full WordNet files")
    parser.add_argument("--rounds", type=int, default=9, help="turns that contenders take")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    asked = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in THREADS):
        # NumPy and FAISS read these when they are imported.
        command = [sys.executable, "-m", "benchmarks.spine", *sys.argv[1:]]
        sys.exit(
            subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}).returncode
        )
    faiss.omp_set_num_threads(1)
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(load(asked.data), Path(folder), asked.rounds, console)
        for name in asked.sections or SECTIONS:
            SECTIONS[name](bench)
        bench.database.close()


if __name__ == "__main__":
    main()
