"""What a server answered, looked at before it is relied on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from requant.adapters.errors import EngineError
from requant.adapters.guards import MAX_KEY


def answers_of(found: Any, queries: int, where: str) -> list[Sequence[Any]]:
    """Return the points of the answers to so many queries; raises EngineError."""
    if not isinstance(found, list) or len(found) != queries:
        count = len(found) if isinstance(found, list) else type(found).__name__
        raise malformed(where, f"{count} answers to {queries} queries")
    return [answer.points for answer in found]


def hits_of(points: Sequence[Any], where: str) -> Sequence[Any]:
    """Return points of ours, each key once: its best; raises EngineError."""
    keys = [point.id for point in points]
    _check_keys(keys, where)
    if not all(math.isfinite(point.score) for point in points):
        raise malformed(where, "a score that is no number")
    return points if len(set(keys)) == len(keys) else once(points)


def once(points: Sequence[Any]) -> Sequence[Any]:
    """Return the first point of each id: one that is being moved may be found in two shards."""
    first: dict[Any, Any] = {}
    for point in points:
        first.setdefault(point.id, point)
    return list(first.values())


def records_of(records: Any, size: int | None, where: str) -> Sequence[Any]:
    """Return records of ours, each key once, with vectors of `size` if it is given."""
    _check_keys([record.id for record in records], where)
    for record in records:
        vector = record.vector
        if size is not None and not (isinstance(vector, list) and len(vector) == size):
            raise malformed(where, f"key {record.id} without a vector of {size} numbers")
    return once(records)


def count_of(answer: Any, where: str) -> int:
    """Return how many points there are."""
    count = answer.count
    if not isinstance(count, int) or count < 0:
        raise malformed(where, f"a count of {count!r}")
    return count


def malformed(where: str, what: str) -> EngineError:
    """Return the error of an answer that cannot be."""
    return EngineError(
        f"{where}: the server sent a malformed answer ({what}): check that it is Qdrant's address, "
        "and that no other program writes to this collection"
    )


def _check_keys(keys: list[Any], where: str) -> None:
    for key in keys:
        if type(key) is not int or not 0 <= key < MAX_KEY:
            raise malformed(where, f"key {key!r}")
