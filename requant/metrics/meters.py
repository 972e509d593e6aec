"""What was measured, added up: whoever searches appends, and now and then somebody adds."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import fields
from threading import Lock
from typing import Any

from requant.metrics.figures import BOUNDS, CollectionMetrics, IndexMetrics, Timing
from requant.metrics.notices import logger
from requant.metrics.operation import Kind, Observer, Operation

# Operations that are added up at once: some two microseconds each.
_MANY = 32
_TIMES = {"search": "searches", "write": "writes", "build": "builds", "publish": "publications"}
_FAILED = {
    "search": "failed_searches",
    "write": "failed_writes",
    "build": "failed_builds",
    "publish": "failed_publications",
    "catch_up": "failed_catch_ups",
}
_OF_INDEX = {"first_pass", "candidates"}
_Count = tuple[str, str, int]  # of an index, what, how many


class Meters:
    """The meters of one open database, by collection, and its observers."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.observers: tuple[Observer, ...] = ()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin at zero again, as a forked child does: a lock may be held in its parent."""
        self._lock = Lock()
        self._began = time.monotonic()
        self._meters: dict[str, Meter] = {}

    def of(self, collection: str) -> Meter:
        """Return the meter of a collection. Not to be kept: a forked child has others."""
        known = self._meters.get(collection)
        return known or self._meters.setdefault(collection, Meter(self, collection))

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell an observer of what begins from now on; what is returned ends that."""
        with self._lock:
            self.observers = (*self.observers, observer)

        def end() -> None:
            with self._lock:
                self.observers = tuple(one for one in self.observers if one is not observer)

        return end

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    def read(self) -> dict[str, CollectionMetrics]:
        """Return what there is by now."""
        return {name: meter.read() for name, meter in sorted(self._meters.items())}


class Meter:
    """Adds up what is done with one collection.

    Nobody waits for anybody: an operation that ends is appended, and those that have come together
    are added up by whoever finds that nobody is at it.
    """

    def __init__(self, meters: Meters, collection: str) -> None:
        """Begin at zero."""
        self._meters = meters
        self._collection = collection
        self._ended: deque[Operation | _Count] = deque()
        self._lock = Lock()
        # By index and name; no index stands for the collection.
        self._times: defaultdict[str, defaultdict[str, _Sum]] = defaultdict(_no_times)
        self._counts: defaultdict[str, defaultdict[str, int]] = defaultdict(_no_counts)

    def operation(self, kind: Kind, *, name: str = "", index: str = "") -> Operation:
        """Return an operation that is added here when it ends."""
        return Operation(self, kind, self._collection, name, index)

    def note(self, index: str, what: str) -> None:
        """Count what is no operation of its own."""
        self._ended.append((index, what, 1))

    def tell_begin(self, operation: Operation) -> list[tuple[Observer, Any]]:
        """Tell the observers, and return what they said."""
        told: list[tuple[Observer, Any]] = []
        for observer in self._meters.observers:
            try:
                told.append((observer, observer.begins(operation)))
            except Exception:
                logger("metrics").exception("an observer failed as %s began", operation.name)
        return told

    def add(self, operation: Operation) -> None:
        """Take an operation that has ended."""
        self._ended.append(operation)
        if len(self._ended) >= _MANY and self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()
        for observer, begun in reversed(operation.told):
            try:
                observer.ends(operation, begun)
            except Exception:
                logger("metrics").exception("an observer failed as %s ended", operation.name)

    def read(self) -> CollectionMetrics:
        """Return the sums."""
        with self._lock:
            self._add_up()
            times, counts = self._times, self._counts
            indexes = {
                name: IndexMetrics(**_of(IndexMetrics, times[name], counts[name]))
                for name in sorted({*times, *counts} - {""})
            }
            found = _of(CollectionMetrics, times[""], counts[""])
        return CollectionMetrics(**found, indexes=indexes)

    def _add_up(self) -> None:
        while self._ended:
            one = self._ended.popleft()
            if isinstance(one, tuple):
                index, what, number = one
                self._counts[index][what] += number
            else:
                self._add_one(one)
        for times in self._times.values():
            for durations in times.values():
                durations.fold()

    def _add_one(self, one: Operation) -> None:
        own = "" if one.kind in ("search", "write") else one.index
        counts, of_index = self._counts[own], one.index != own
        for what, number in one.counts.items():
            counts[what] += number
            if of_index and what in _OF_INDEX:
                self._counts[one.index][what] += number
        if one.error is not None:
            counts[_FAILED[one.kind]] += 1
            return
        sums = self._times[own]
        sums[_TIMES.get(one.kind, one.kind)].add(one.seconds)
        for stage, seconds in one.stages.items():
            sums[stage].add(seconds)
            if of_index and stage in _OF_INDEX:
                self._times[one.index][stage].add(seconds)


class _Sum:
    """Durations: `add` notes one, `fold` adds those up that were noted, together in C."""

    __slots__ = ("_noted", "add", "buckets", "count", "max", "total")

    def __init__(self) -> None:
        self.count, self.total, self.max = 0, 0.0, 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self._noted: list[float] = []
        self.add = self._noted.append

    def fold(self) -> None:
        noted, buckets = self._noted, self.buckets
        if not noted:
            return
        self.count += len(noted)
        self.total += sum(noted)
        self.max = max(self.max, *noted)
        for seconds in noted:
            buckets[bisect_left(BOUNDS, seconds)] += 1
        noted.clear()

    def read(self) -> Timing:
        return Timing(self.count, self.total, self.max, tuple(self.buckets))


def _no_times() -> defaultdict[str, _Sum]:
    return defaultdict(_Sum)


def _no_counts() -> defaultdict[str, int]:
    return defaultdict(int)


def _of(kind: type[Any], times: dict[str, _Sum], counts: dict[str, int]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    found = {what: one.read() for what, one in times.items()} | counts
    return {what: value for what, value in found.items() if what in names}
