"""What the demo measures of each index: recall, time, size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from requant.adapters import registry
from requant.collection import Collection
from requant.errors import EngineMissingError, UnsupportedError
from requant.integration.cli.progress import progress

ENGINES = ("faiss", "usearch", "qdrant", "lancedb", "turbovec")
PRECISIONS = ("int8", "int2", "binary")
# Of an engine that has codes of its own only.
OWN = ("native",)
K = 10
# An exact search reads every vector from the database: a few tell its time well enough.
_EXACT_QUERIES = 20
# What rounding may do to the score of an item that is as near as the k-th nearest.
_TIE = 1e-6


@dataclass(frozen=True)
class Run:
    """One line of the table; the figures are None where `reason` says why there are none."""

    engine: str
    precision: str | None
    index_type: str | None
    recall: float | None = None
    cpu_ms: float | None = None
    index_bytes: int | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """The name of the index."""
        return f"{self.engine}-{self.precision}"


def run_all(collection: Collection, queries: NDArray[np.float32], engines: list[str]) -> list[Run]:
    """Build and measure every index of every engine; the first line is the exact search."""
    kth = collection.search_many(queries, K, exact=True).scores[:, -1]
    part = queries[:_EXACT_QUERIES]
    runs = [_measured(collection, Run("exact search", None, None), part, kth[: len(part)])]
    wishes = [(engine, precision) for engine in engines for precision in _precisions(engine)]
    with progress("measuring indexes") as advance:
        for done, (engine, precision) in enumerate(wishes):
            advance(done, len(wishes))
            run = _built(collection, engine, precision)
            if run.precision is None:
                runs += [run] if run not in runs else []
            else:
                runs.append(run if run.reason else _measured(collection, run, queries, kth))
    return runs


def _precisions(engine: str) -> tuple[str, ...]:
    """Return what to measure: of a missing engine all, for which one reason is told."""
    backend = registry.status(engine).backend
    if backend is None or any(row.format != "native" for row in backend.capabilities.supports):
        return PRECISIONS
    return OWN


def _built(collection: Collection, engine: str, precision: str) -> Run:
    """Add an index, and put the reason on the line if that cannot be."""
    run = Run(engine, precision, "flat")
    try:
        registry.load(engine)
        collection.add_index(run.name, engine=engine, precision=precision)
    except EngineMissingError as error:
        return Run(engine, None, None, reason=str(error))
    except UnsupportedError as error:
        return Run(engine, precision, "flat", reason=str(error))
    return run


def _measured(
    collection: Collection, run: Run, queries: NDArray[np.float32], kth: NDArray[np.float32]
) -> Run:
    """Search one query at a time, as an application does, and count hits by distance.

    A hit is an item at least as near as the k-th nearest: real data has exact duplicates.
    """
    exact = run.precision is None
    if not exact:
        collection.use_index(run.name)
    collection.search(queries[0], K, exact=exact)  # what is loaded on first use is no search time
    seconds, hits = [], 0
    for query, enough in zip(queries, kth, strict=True):
        start = time.process_time()
        found = collection.search(query, K, exact=exact)
        seconds.append(time.process_time() - start)
        hits += sum(hit.score >= enough - _TIE for hit in found)
    info = next((info for info in collection.indexes if info.name == run.name), None)
    return Run(
        run.engine,
        run.precision,
        run.index_type,
        recall=hits / (K * len(queries)),
        cpu_ms=1000 * median(seconds),
        index_bytes=info.bytes if info else None,
    )
