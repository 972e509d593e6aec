"""What many cores and many threads bring: exact search, batches, and searches side by side.

    python -m benchmarks.cores --rows 100000 --dim 384 --threads 2,4
    python -m benchmarks.cores --data FOLDER

Without `--data`, a folder as `benchmarks.rebuild_data` makes, vectors are made up: around centres,
as embeddings are. `faiss` is measured if it is installed. Wall-clock times: a busy machine shows.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import requant
from benchmarks.dataset import load
from requant.collection import Collection

Floats = NDArray[np.float32]
SMALL = 8000
BATCH = 1000


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=117_659)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument(
        "--threads", default="2,4", help="numbers of threads that search, beside one"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each figure")
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    numbers = sorted({int(number) for number in args.threads.split(",")} - {1})
    if args.data is not None:
        data = load(args.data)
        vectors, queries = data.vectors[: args.rows], data.queries[:BATCH]
    else:
        vectors, queries = made_up(args.rows, args.dim)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{len(vectors):,} x {vectors.shape[1]}, {cores} cores\n")
    print("| what | figure |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder, requant.open(f"{folder}/cores.requant") as db:
        for name, rows in (("small", vectors[:SMALL]), ("large", vectors)):
            filled(db.create_collection(name, vectors.shape[1]), rows)
        small, large = db.collection("small"), db.collection("large")
        exact(small, large, vectors, queries, args.seconds)
        batches(large, queries, args.seconds, exact=True)
        side_by_side(small, queries, numbers, args.seconds, f"exact, {len(small):,} rows")
        for engine, precision in (("faiss", "int2"), ("usearch", "int8")):
            if importlib.util.find_spec(engine) is None:
                continue
            large.add_index(engine, engine=engine, precision=precision)
            large.use_index(engine)
            batches(large, queries, args.seconds, exact=False)
            side_by_side(large, queries, numbers, args.seconds, f"{engine} {precision}")


def made_up(n: int, dim: int) -> tuple[Floats, Floats]:
    """Return vectors around centres, and queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, n // 50), dim), dtype=np.float32)
    vectors = centres[rng.integers(len(centres), size=n)]
    vectors += 0.7 * rng.standard_normal((n, dim), dtype=np.float32)
    near = vectors[rng.integers(n, size=BATCH)]
    return vectors, near + 0.7 * rng.standard_normal(near.shape, dtype=np.float32)


def filled(items: Collection, rows: Floats) -> None:
    """Store rows, 20,000 at a time."""
    for start in range(0, len(rows), 20_000):
        part = rows[start : start + 20_000]
        items.upsert(range(start, start + len(part)), part)


def exact(
    small: Collection, large: Collection, vectors: Floats, queries: Floats, seconds: float
) -> None:
    """Show a single exact search: the first one, one from memory, and of all beside NumPy's."""
    begun = time.perf_counter()
    small.search(queries[0])
    tell(f"exact, {len(small):,} rows, the first search", (time.perf_counter() - begun) * 1e3, "ms")
    small.search(queries[1])
    took = median(lambda i: small.search(queries[i]), seconds)
    tell(f"exact, {len(small):,} rows, from then on", took, "ms")
    took = median(lambda i: large.search(queries[i], exact=True), seconds)
    product = median(lambda i: vectors @ queries[i], seconds)
    tell(f"exact, {len(vectors):,} rows", took, "ms")
    tell("NumPy's product of the same array", product, "ms")
    tell("exact, in products", took / product, "times")


def batches(items: Collection, queries: Floats, seconds: float, *, exact: bool) -> None:
    """Show how many queries of a batch are answered a second."""
    took = median(lambda _: items.search_many(queries, exact=exact), seconds)
    kind = "exact" if exact else next(index.name for index in items.indexes if index.active)
    tell(f"{kind}, search_many of {len(queries)}", len(queries) / took * 1e3, "queries a second")


def side_by_side(
    items: Collection, queries: Floats, numbers: list[int], seconds: float, name: str
) -> None:
    """Show how many searches a second one thread does, and how many some do together."""
    one = searches(items, queries, 1, seconds)
    tell(f"{name}, 1 thread", one, "searches a second")
    for number in numbers:
        rate = searches(items, queries, number, seconds)
        tell(f"{name}, {number} threads", rate, f"searches a second, {rate / one:.2f} times")


def searches(items: Collection, queries: Floats, number: int, seconds: float) -> float:
    """Return how many searches a second so many threads do together."""
    done, start = [0] * number, threading.Barrier(number + 1)
    ended = threading.Event()

    def search(me: int) -> None:
        items.search(queries[me])
        start.wait()
        while not ended.is_set():
            items.search(queries[(done[me] * number + me) % len(queries)])
            done[me] += 1

    threads = [threading.Thread(target=search, args=(me,)) for me in range(number)]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    time.sleep(seconds)
    ended.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


def median(work: Callable[[int], Any], seconds: float) -> float:
    """Return the median of milliseconds, of five calls at least."""
    times: list[float] = []
    work(0)
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begun = time.perf_counter()
        work(len(times) % BATCH)
        times.append((time.perf_counter() - begun) * 1e3)
    return float(np.median(times))


def tell(what: str, figure: float, unit: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {figure:,.2f} {unit} |", flush=True)


if __name__ == "__main__":
    main()
