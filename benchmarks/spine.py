"""requant beside the engines driven by hand, in one run: `make bench`, or

    python -m benchmarks.spine [--data FOLDER] [--rounds N] [SECTION ...]

FOLDER holds the full WordNet files (benchmarks/rebuild_data.py makes them); without it the subset
in examples/ is measured. Times are CPU times of one thread; contenders take turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console

from benchmarks.bench import TARGETS, Bench
from benchmarks.dataset import Dataset, K, load
from benchmarks.engines import engines, own
from benchmarks.timing import cpu_seconds, in_turn, ratio
from requant import quantizers

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FLAT, REFINED = "FAISS IndexFlatIP", "FAISS SQ8 + RefineFlat, k_factor 2"


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
        "binary, 2 bits, rotated": quantizers.fit("binary", sample, true_to_length=True),
        "int2": quantizers.fit("int2", sample, true_to_length=True),
        "int4": quantizers.fit("int4", sample, true_to_length=True),
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
        extra = in_child(SEARCHING, str(bench.folder / "bench.requant"))
        rows.append([f"memory of a searching process, {precision}, MB, own + mapped", extra])
    bench.show("Loading", ["", "measured"], rows)


SEARCHING = """
import sys, numpy as np, faiss
from benchmarks.resident import resident
before = resident()
import requant
items = requant.open(sys.argv[1]).collection("wordnet")
queries = np.random.default_rng(0).standard_normal((500, items.dim)).astype(np.float32)
for query in queries:
    items.search(query)
print(resident().beyond(before))
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
