"""The numbers as they are handed out: plain, frozen, of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Upper ends, in seconds, of the classes that durations are counted in; the last one has none.
BOUNDS: tuple[float, ...] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """How often something was done, and how long it took, in seconds.

    `buckets[i]` is how many took at most `BOUNDS[i]`, and longer than the bound before; the last
    one counts what took longer than all of them.
    """

    count: int = 0
    total: float = 0.0
    max: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    @property
    def mean(self) -> float:
        """Seconds each time; 0 if it was never done."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Estimate the seconds within which a share (0.5, 0.99) of them was done.

        As exact as the buckets are: off by a factor of 2.5 at most, never above `max`.

        >>> Timing(count=2, total=0.3, max=0.2, buckets=(0,) * 9 + (1, 1) + (0,) * 6).quantile(1.0)
        0.2
        """
        rank, passed, lower = share * self.count, 0, 0.0
        for bound, number in zip((*BOUNDS, self.max), self.buckets, strict=True):
            if number and passed + number >= rank:
                upper = max(lower, min(bound, self.max))
                return lower + (upper - lower) * max(rank - passed, 0.0) / number
            passed, lower = passed + number, bound
        return self.max


@dataclass(frozen=True)
class IndexMetrics:
    """What one index was asked, and what it took to keep it up."""

    # What its engine took for the first pass of a search, and the candidates that it named.
    first_pass: Timing = Timing()
    candidates: int = 0
    # Following the store, a share at a time or the whole, and how many rows that were.
    catch_up: Timing = Timing()
    rows_followed: int = 0
    builds: Timing = Timing()
    items_built: int = 0
    publications: Timing = Timing()
    # Publications that were left: another process had published one that followed further.
    outrun: int = 0
    # Times that what was on the disk, or kept by its engine, could not be used.
    damaged: int = 0
    failed_catch_ups: int = 0
    failed_builds: int = 0
    failed_publications: int = 0


@dataclass(frozen=True)
class CollectionMetrics:
    """What was done with one collection. Timings are of what succeeded; failures are counted."""

    # Calls of `search`, `search_many`, `search_documents`..., and the queries in them.
    searches: Timing = Timing()
    queries: int = 0
    failed_searches: int = 0
    # Searches that asked no index; of these, those that would have, had it been at hand.
    exact_searches: int = 0
    fallbacks: int = 0
    # Times that a search was done again: an index was ahead of its snapshot, or failed.
    retries: int = 0
    # The stages of a search, in their order: until the snapshot was there; bringing the index up,
    # what a filter lets through; what has the words; the engine; floats from the store; their exact
    # scores; what is scored beside the index, or without one; ids, documents and metadata; a
    # reranking model.
    snapshot: Timing = Timing()
    follow: Timing = Timing()
    filter: Timing = Timing()
    words: Timing = Timing()
    first_pass: Timing = Timing()
    fetch: Timing = Timing()
    rescore: Timing = Timing()
    scan: Timing = Timing()
    join: Timing = Timing()
    rerank: Timing = Timing()
    # What the engine named, what was fetched of it, and what was scored in `scan`.
    candidates: int = 0
    fetched: int = 0
    scanned: int = 0
    # Calls that write. A transaction of yours goes on after the call: what it takes to commit is
    # not in it, and what it rolls back is counted all the same.
    writes: Timing = Timing()
    failed_writes: int = 0
    # Of a write, what it took to get a connection and its turn.
    write_wait: Timing = Timing()
    rows_written: int = 0
    rows_removed: int = 0
    indexes: Mapping[str, IndexMetrics] = field(default_factory=dict)


@dataclass(frozen=True)
class Metrics:
    """What this process has done with a database since it was opened here, by collection.

    `seconds` is how long that is; `log_bytes` the size of SQLite's write-ahead log just now, None
    for PostgreSQL.
    """

    seconds: float
    log_bytes: int | None
    collections: Mapping[str, CollectionMetrics]

    def as_dict(self) -> dict[str, Any]:
        """Return it as dicts, lists and numbers, for JSON."""
        return asdict(self)
