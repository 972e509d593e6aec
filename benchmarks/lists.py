"""Lists and graphs beside a flat scan, at equal recall: what a million vectors take.

    python -m benchmarks.lists --rows 1000000 --dim 768 --synthetic --threads 16
    python -m benchmarks.lists --data FOLDER            # WordNet, as `python -m benchmarks.spine`
    python -m benchmarks.lists --data FOLDER --lemmas FILE    # of `python -m benchmarks.lemmas`

Each index is asked with the effort and the candidates that reach the recall fastest; times are CPU
ms of one query in the thread that asks, everything included, taken in turn with the flat index:
other threads, which wait for work by spinning, do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

import requant
from benchmarks import made_up
from benchmarks.dataset import Dataset, K, load
from benchmarks.lemmas import distinct
from benchmarks.rebuild_data import QUERY_IDS
from benchmarks.timing import in_turn, ratio

Floats = NDArray[np.float32]

KINDS: dict[str, dict[str, Any]] = {
    "int2-flat": {"precision": "int2"},
    "int2-ivf": {"precision": "int2", "index_type": "ivf"},
    "int4-ivf": {"precision": "int4", "index_type": "ivf"},
    "int8-hnsw": {"precision": "int8", "index_type": "hnsw"},
    "usearch-int8-hnsw": {"engine": "usearch", "precision": "int8", "index_type": "hnsw"},
}
FLAT = "int2-flat"
EFFORTS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
CANDIDATES = (20, 30, 40, 60, 80)
# Queries on which settings are looked for, and those that are timed.
QUERIES, TIMED = 300, 50
STEPS = 2  # efforts that are timed, from the least that is enough
_TIE = 1e-6


@dataclass
class Best:
    """The scores of the ten nearest of some queries, of all vectors that were looked at."""

    queries: Floats
    scores: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.scores = np.full((len(self.queries), K), -np.inf, np.float32)

    def look_at(self, rows: Floats) -> None:
        """Take in some vectors of length 1."""
        near = self.queries @ rows.T
        near = -np.partition(-near, min(K, near.shape[1]) - 1, axis=1)[:, :K]
        self.scores = -np.sort(-np.hstack([self.scores, near]), axis=1)[:, :K]

    def recall(self, scores: Floats) -> float:
        """Return the recall@10 of the exact scores of results, counted by distance."""
        return float((scores[:, :K] >= self.scores[:, -1:] - _TIE).mean())


def main() -> None:
    """Fill a database, build each index, look for its settings, time it, and tell."""
    wish = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(wish.threads)  # usearch reads it
    faiss.omp_set_num_threads(wish.threads)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=wish.folder) as folder:
        database = requant.open(Path(folder) / "lists.requant")
        batches, queries = _data(wish)
        best = Best(queries)
        items = database.create_collection("items", dim=queries.shape[1])
        n = 0
        for rows in batches:
            items.upsert(range(n, n + len(rows)), rows)
            best.look_at(rows)
            n += len(rows)
        print(f"{n:,} x {items.dim} stored after {time.perf_counter() - began:.0f} s", flush=True)
        print("|index|build CPU s|clock s|MB|effort|candidates|recall@10|ms a query|/ flat|")
        print("|---|---|---|---|---|---|---|---|---|")
        settings: dict[str, dict[str, Any]] = {}
        for name in KINDS:
            if wish.only and name not in (*wish.only, FLAT):
                continue
            if settings and time.perf_counter() - began > wish.minutes * 60:
                print(f"|{name}|left out: more than {wish.minutes:g} minutes are gone|")
                continue
            told = _built(items, name)
            found = _settings(items, name, best, wish.recall)
            settings[name] = {key: found[key] for key in ("effort", "oversample")}
            told += _timed(items, name, settings, queries, found["recall"])
            print("|" + "|".join([name, *told]) + "|", flush=True)
        print(f"{time.perf_counter() - began:.0f} s in all")
        database.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--synthetic", action="store_true", help="made-up vectors, not WordNet")
    parser.add_argument("--data", type=Path, help="folder of the full WordNet data")
    parser.add_argument("--lemmas", type=Path, help="vectors of the lemmas, stored besides")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--only", nargs="*", help="indexes, beside the flat one", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no index later")
    parser.add_argument("--folder", type=Path, help="where the database is put for a while")
    return parser.parse_args()


def _data(wish: argparse.Namespace) -> tuple[Iterator[Floats], Floats]:
    """Return batches of vectors, made while others are stored, and queries, all of length 1."""
    if not wish.synthetic:
        data = load(wish.data)
        rows, queries = data.vectors, data.queries
        if wish.lemmas is not None:
            rows, queries = _with_lemmas(data, wish.data, np.load(wish.lemmas))
        parts = range(0, len(rows), made_up.CHUNK)
        batches = (_unit(rows[start : start + made_up.CHUNK]) for start in parts)
        return batches, _unit(queries[:QUERIES])
    made = made_up.world(wish.dim, wish.rows)
    return _made(made, wish.rows, wish.threads), made.queries(wish.rows, QUERIES)


def _with_lemmas(data: Dataset, folder: Path, vectors: Floats) -> tuple[Floats, Floats]:
    """Return the vectors of different texts, and the queries of which none is stored as a text.

    Definitions and lemmas lie mixed, as texts of an application do.
    """
    ids = json.loads((folder / QUERY_IDS).read_text())
    by_id = {item["id"]: item for item in data.items}
    several = [row for row, name in enumerate(ids) if len(by_id[name]["lemmas"]) > 1]
    rows = np.concatenate([data.vectors[distinct(data.items)], vectors.astype(np.float32)])
    return rows[np.random.default_rng(0).permutation(len(rows))], data.queries[several]


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _made(made: made_up.World, count: int, threads: int) -> Iterator[Floats]:
    starts = iter(range(0, count, made_up.CHUNK))
    with ThreadPoolExecutor(threads) as pool:

        def begin(start: int) -> Any:
            return pool.submit(made.texts, start, min(made_up.CHUNK, count - start))

        waiting = deque(begin(start) for start in islice(starts, 2 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(begin(start) for start in islice(starts, 1))


def _built(items: requant.Collection, name: str) -> list[str]:
    clock, cpu = time.perf_counter(), time.process_time()
    items.add_index(name, **KINDS[name])
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    size = next(info.bytes for info in items.indexes if info.name == name) or 0
    return [f"{cpu:.0f}", f"{clock:.0f}", f"{size / 1e6:.0f}"]


def _settings(items: requant.Collection, name: str, best: Best, target: float) -> dict[str, Any]:
    """Return the fastest of some efforts, each with the fewest candidates that are enough.

    More effort does with fewer candidates. What reaches the recall with none is told as it is.
    """

    def tried(effort: int | None, candidates: int) -> dict[str, Any]:
        asked = {"effort": effort, "oversample": candidates / K}
        found = items.search_many(best.queries, K, documents=False, index=name, **asked)
        return {**asked, "recall": best.recall(found.scores)}

    def seconds(trial: dict[str, Any]) -> float:
        asked = {key: trial[key] for key in ("effort", "oversample")}
        begun = time.thread_time()
        for query in best.queries[:TIMED]:
            items.search(query, K, index=name, **asked)
        return time.thread_time() - begun

    efforts: tuple[int | None, ...] = EFFORTS if KINDS[name].get("index_type") else (None,)
    enough: list[dict[str, Any]] = []
    trial: dict[str, Any] = {}
    for effort in efforts:
        trial = tried(effort, CANDIDATES[-1])
        if trial["recall"] < target:
            continue
        each = (tried(effort, candidates) for candidates in CANDIDATES)
        enough.append(next((one for one in each if one["recall"] >= target), trial))
        if len(enough) == STEPS or enough[-1]["oversample"] * K == CANDIDATES[0]:
            break
    return min(enough, key=seconds) if enough else trial


def _timed(
    items: requant.Collection,
    name: str,
    settings: dict[str, dict[str, Any]],
    queries: Floats,
    recall: float,
) -> list[str]:
    both = dict.fromkeys((FLAT, name))
    contenders = {
        one: lambda i, one=one: items.search(queries[i], K, index=one, **settings[one])
        for one in both
    }
    times = in_turn(
        contenders, min(TIMED, len(queries)), rounds=5, block=20, clock=time.thread_time
    )
    effort, candidates = settings[name]["effort"], round(settings[name]["oversample"] * K)
    share = ratio(times, name, FLAT)
    reached = [f"{effort or ''}", f"{candidates}", f"{recall:.4f}"]
    return [*reached, f"{np.median(times[name]):.2f}", f"{share:.3f} (1/{1 / share:.1f})"]


if __name__ == "__main__":
    main()
