"""Qdrant and LanceDB with requant, beside the same engines driven by hand.

Part of `make bench`; alone: python -m benchmarks.spine engines own
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from benchmarks import inside
from benchmarks.bench import Bench
from benchmarks.by_hand import Edge, Lance, Local
from benchmarks.dataset import K
from benchmarks.timing import in_turn, ratio
from requant.adapters import making
from requant.scores import best, score
from requant.search import hits

# Local mode compares in Python, with every vector in float32: a part of the data is enough of it.
LOCAL_ROWS = 8000
PLACES: dict[str, tuple[str, str | None, Any]] = {
    "qdrant edge": ("qdrant", None, Edge),
    "qdrant local": ("qdrant", ":memory:", Local),
    "lancedb": ("lancedb", None, Lance),
}
TARGETS = {"int8": 0.99, "binary": 0.99}
TRIED = (
    1.0,
    1.2,
    1.5,
    2.0,
    3.0,
    4.0,
    6.0,
    8.0,
    10.0,
    12.0,
    13.0,
    14.0,
    15.0,
    16.0,
    17.0,
    18.0,
    20.0,
    24.0,
    32.0,
    48.0,
)
_numbers = count()


def engines(bench: Bench) -> None:
    """One query at a time and bulk load, beside the engine alone on the same codes."""
    searches, loads = [], []
    for place, precision in ((place, p) for place in PLACES for p in TARGETS):
        engine, url, by_hand = PLACES[place]
        items = _part(bench) if url else bench.items
        n, name = len(items), f"{place.replace(' ', '-')}-{precision}"
        added = _cpu(partial(items.add_index, name, engine=engine, precision=precision, url=url))
        factor = _least(lambda f: _recall(bench, items, name, f), TARGETS[precision])  # noqa: B023
        codes, queries = _codes(bench, items, name)
        uploaded = _reupload(items, name)
        folder = bench.folder / f"by-hand-{next(_numbers)}"
        hand: list[Any] = []
        raw_load = _cpu(lambda: hand.append(by_hand(folder, codes)))  # noqa: B023
        times = _timed(bench, items, name, factor, partial(_ask, hand[0], queries, factor))
        beyond = np.subtract(times["ours"], times["rescore"])
        share = float(np.median(np.divide(beyond, times["raw"])))
        columns = [np.median(times[part]) for part in ("raw", "rescore", "ours")]
        recall = _recall(bench, items, name, factor)
        row = [f"{name}, {n:,}", f"{round(K * factor)}", f"{recall:.4f}"]
        searches.append([*row, *(f"{ms:.2f}" for ms in columns), f"{share:.2f}"])
        seconds = [f"{value:.2f}" for value in (raw_load, uploaded, added)]
        loads.append([f"{name}, {n:,}", *seconds, f"{uploaded / raw_load:.2f}"])
        hand[0].close()
        items.drop_index(name)
        shutil.rmtree(folder, ignore_errors=True)
    bench.show(
        f"One query at a time, k = {K}, CPU ms; the engine alone answers the same candidates",
        [
            "",
            "candidates",
            "recall@10",
            "alone",
            "rescoring",
            "requant",
            "(requant - rescoring)/alone",
        ],
        searches,
    )
    bench.show(
        "Bulk load of the same codes, CPU s; from the store: read and encoded as well",
        ["", "by hand", "through the adapter", "from the store", "adapter / by hand"],
        loads,
    )


def own(bench: Bench) -> None:
    """Our binary index and rescoring beside the engine's own quantization and rescoring."""
    rows = []
    data = bench.data
    unit = data.vectors / np.linalg.norm(data.vectors, axis=1, keepdims=True)
    queries = bench.folder / "queries.npy"
    np.save(queries, data.queries[:500])
    for place in ("qdrant edge", "lancedb"):
        engine, _, by_hand = PLACES[place]
        name = f"{place.replace(' ', '-')}-binary"
        bench.items.add_index(name, engine=engine, precision="binary")
        factor = _least(lambda f: _recall(bench, bench.items, name, f), 0.99)  # noqa: B023
        for bits in (1, 2):
            folder = bench.folder / f"own-{next(_numbers)}"
            theirs, reached, wish = _tuned(bench, partial(by_hand, folder, unit, bits=bits))
            contenders = {
                "ours": partial(_search, bench, name, factor),
                "theirs": partial(_ask, theirs, data.queries, 1.0),
            }
            times = in_turn(contenders, len(data.queries), bench.rounds)
            theirs.close()
            kind = "edge" if by_hand is Edge else "lance"
            memory = in_child("benchmarks.memory", kind, folder, wish, queries)
            told = [f"{place}, its own, {bits} bits", f"{wish:g}", f"{reached:.4f}"]
            ours = f"{ratio(times, 'ours', 'theirs'):.2f}"
            rows.append([*told, f"{np.median(times['theirs']):.2f}", memory, ours])
            shutil.rmtree(folder, ignore_errors=True)
        recall = _recall(bench, bench.items, name, factor)
        bench.items.flush()
        path = bench.folder / "bench.requant"
        bench.items.close()  # the embedded engine's folder belongs to one process
        memory = in_child("benchmarks.memory", "ours", path, name, factor, queries)
        bench.items = bench.database.collection(bench.items.name)
        told = [f"{place}, requant binary", f"{factor:g}", f"{recall:.4f}"]
        rows.append([*told, f"{np.median(times['ours']):.2f}", memory, ""])
        bench.items.drop_index(name)
    columns = [
        "",
        "oversampling",
        "recall@10",
        "CPU ms",
        "MB, own + mapped",
        "time of requant to it",
    ]
    bench.show("Two passes of requant, and the engine's own, at equal recall", columns, rows)


def in_child(module: str, *arguments: object) -> str:
    """Run a module in a new interpreter and return what it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _tuned(bench: Bench, make: Callable[..., Any]) -> tuple[Any, float, float]:
    """Return an engine's own two passes with the least oversampling that reaches the target."""
    engine, reached, wish = make(2), 0.0, 0.0
    for wish in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128):
        engine.oversample(wish)
        reached = _recall_of(bench, engine)
        if reached >= 0.99:
            break
    return engine, reached, wish


def _recall_of(bench: Bench, engine: Any) -> float:
    data = bench.data
    unit = data.queries[:500] / np.linalg.norm(data.queries[:500], axis=1, keepdims=True)
    scores = np.full((len(unit), K), -np.inf, np.float32)
    for i in range(len(unit)):
        rows = engine.ask(data.queries[i], K)
        found = data.vectors[rows]
        cosines = found @ unit[i] / np.linalg.norm(found, axis=1)
        scores[i, : len(rows)] = cosines
    return data.recall(scores)


def _part(bench: Bench) -> Any:
    """Return a collection of the first few items."""
    if "part" not in bench.database.collections():
        rows = bench.data.items[:LOCAL_ROWS]
        part = bench.database.create_collection("part", bench.data.vectors.shape[1])
        texts = [row["text"] for row in rows]
        part.upsert([row["id"] for row in rows], bench.data.vectors[:LOCAL_ROWS], texts)
    return bench.database.collection("part")


def _recall(bench: Bench, items: Any, name: str, oversample: float) -> float:
    """Return recall@10 of 500 queries, by distance, against the collection's own exact search."""
    queries = bench.data.queries[:500]
    found = items.search_many(queries, K, oversample=oversample, index=name).scores
    if items is bench.items:
        return bench.data.recall(found)
    worst = items.search_many(queries, K, exact=True).scores[:, -1:]
    return float((found >= worst - 1e-6).mean())


def _least(recall: Callable[[float], float], target: float) -> float:
    return next((factor for factor in TRIED if recall(factor) >= target), TRIED[-1])


def _codes(bench: Bench, items: Any, name: str) -> tuple[Any, Any]:
    """Return the codes of all items in the order of their keys, and of all queries."""
    loaded = inside.loaded(items, name)
    parts = list(loaded.backend.export())
    keys = np.concatenate([keys for keys, _ in parts])
    codes = np.concatenate([codes for _, codes in parts])[np.argsort(keys)]
    queries = bench.data.queries / np.linalg.norm(bench.data.queries, axis=1, keepdims=True)
    return codes, loaded.quantizer.encode_query(queries, loaded.backend.spec.metric)


def _reupload(items: Any, name: str) -> float:
    """Return the CPU seconds of writing the same codes to a new place, through the adapter."""
    backend = inside.loaded(items, name).backend
    parts = list(backend.export())
    keys = np.concatenate([keys for keys, _ in parts])
    codes = np.concatenate([codes for _, codes in parts])
    order = np.argsort(keys)
    keys, codes = keys[order], codes[order]
    where = inside.place(items, name)
    fresh: list[Any] = []

    def upload() -> None:
        fresh.append(making.create(type(backend), backend.spec, where, sample=codes[:1000]))
        step = max(1, (16 << 20) // codes[0].nbytes)  # as requant.indexes.following.catch_up does
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            fresh[0].upsert(keys[part], codes[part])
        fresh[0].flush()

    seconds = _cpu(upload)
    fresh[0].close()
    type(backend).drop(backend.spec, where)
    return seconds


def _ask(hand: Any, queries: Any, factor: float, i: int) -> object:
    return hand.ask(queries[i], round(K * factor))


def _search(bench: Bench, name: str, factor: float, i: int) -> object:
    return bench.items.search(bench.data.queries[i], K, oversample=factor, index=name)


def _timed(
    bench: Bench, items: Any, name: str, factor: float, raw: Callable[[int], object]
) -> dict[str, list[float]]:
    """Time the engine alone, the rescoring of its candidates alone, and requant's search."""
    queries, first = bench.data.queries[:500], inside.first_key(items)
    candidates = [first + np.sort(np.array(raw(i), np.int64)) for i in range(len(queries))]

    def rescore(i: int) -> object:
        with inside.reading(items) as reader:
            keys, vectors = reader.vectors(candidates[i], items.dim)
            found = best(keys, score(queries[i], vectors, items.metric), K)
            return hits(found, reader.items(found[0].tolist()))

    contenders = {
        "raw": raw,
        "rescore": rescore,
        "ours": lambda i: items.search(queries[i], K, oversample=factor, index=name),
    }
    return in_turn(contenders, len(queries), bench.rounds)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
