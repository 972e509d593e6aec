"""One contender in a process of its own: python -m benchmarks.peers.child build|serve NAME FOLDER.

Vectors, queries and what exact search scores lie in FOLDER; the answer is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset import K
from benchmarks.peers.contender import Ask, Contender, Vectors
from benchmarks.resident import resident
from benchmarks.timing import in_turn, ratio

PARTS = ("by_requant", "by_faiss", "by_engines", "by_others")
BASELINE = "IndexFlatIP"
ASKED = 500
# Of what takes so long that the rest would wait for hours, fewer queries are asked.
SLOW_SECONDS, ASKED_SLOW = 0.05, 50


def contenders() -> list[Contender]:
    """Return all of them; their modules import an engine only where every contender needs it."""
    parts = (import_module(f"benchmarks.peers.{part}").CONTENDERS for part in PARTS)
    return list(chain.from_iterable(parts))


def build(contender: Contender, folder: Path) -> dict[str, Any]:
    """Build its index from the vectors, and tell what that took."""
    vectors = np.load(folder / "vectors.npy")
    start = time.process_time()
    place = folder / "index"
    place.mkdir()
    contender.build(vectors, place)
    seconds = time.process_time() - start
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return {"build": seconds, "bytes": size}


def serve(contender: Contender, folder: Path, rounds: int) -> dict[str, Any]:
    """Open what was built; tell its memory, and the time and the recall of every setting."""
    for module in contender.imports:
        import_module(module)
    queries = np.load(folder / "queries.npy")
    before = resident()
    settings = contender.serve(folder / "index")
    queries = queries[: ASKED_SLOW if is_slow(settings, queries[:5]) else ASKED]
    for ask in settings.values():
        for query in queries:
            ask(query)
    memory = asdict(resident().beyond(before))
    vectors, worst = np.load(folder / "vectors.npy"), np.load(folder / "worst.npy")
    recalls = {name: recall(ask, vectors, queries, worst) for name, ask in settings.items()}
    numbered = {
        name: (lambda number, ask=ask: ask(queries[number])) for name, ask in settings.items()
    }
    times = in_turn({BASELINE: flat(vectors, queries), **numbered}, len(queries), rounds)
    rows = [
        {
            "setting": name,
            "recall": recalls[name],
            "milliseconds": float(np.median(times[name])),
            "of_flat": ratio(times, name, BASELINE),
        }
        for name in settings
    ]
    return {**memory, "flat": float(np.median(times[BASELINE])), "settings": rows}


def recall(ask: Ask, vectors: Vectors, queries: Vectors, worst: Vectors) -> float:
    """Return recall@10, counted by distance: a hit is as near as the tenth nearest."""
    hits = 0
    for query, least in zip(queries, worst[: len(queries)], strict=True):
        found = list(ask(query))[:K]
        hits += int((vectors[found] @ query >= least - 1e-6).sum())
    return hits / (len(queries) * K)


def is_slow(settings: dict[str, Ask], queries: Vectors) -> bool:
    """Whether the slowest setting takes very long, told by its fastest answer."""
    slowest = 0.0
    for ask in settings.values():
        seconds = []
        for query in queries:
            start = time.process_time()
            ask(query)
            seconds.append(time.process_time() - start)
        slowest = max(slowest, min(seconds))
    return slowest > SLOW_SECONDS


def flat(vectors: Vectors, queries: Vectors) -> Any:
    """Return FAISS's exact search for one query by its number."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda number: index.search(queries[number : number + 1], K)


def main() -> None:
    what, name, folder, *more = sys.argv[1:]
    contender = next(one for one in contenders() if one.name == name)
    place = Path(folder)
    told = build(contender, place) if what == "build" else serve(contender, place, int(*more))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
