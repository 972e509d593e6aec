"""What a collection ought to hold, in a dictionary, and what it ought to answer, by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.scores import Metric
from requant.search import Hit
from requant.store import Id

Ids = Sequence[Id]


@dataclass(frozen=True)
class Entry:
    """One item."""

    vector: Float32s | None = None
    document: str | None = None
    metadata: dict[str, Any] | None = None


class Write(NamedTuple):
    """What one call of `upsert` or `add` is given; a column that is None is not given."""

    ids: Ids
    vectors: Float32s | list[Float32s | None] | None
    documents: list[str | None] | None
    metadata: list[dict[str, Any] | None] | None


class Model:
    """The items by their id, as text: `7` and `"7"` are one."""

    def __init__(self, metric: Metric, dim: int) -> None:
        """Begin empty."""
        self.metric: Metric = metric
        self.dim: int = dim
        self.items: dict[str, Entry] = {}

    def copy(self) -> Model:
        """Return one that goes on by itself."""
        other = Model(self.metric, self.dim)
        other.items = dict(self.items)
        return other

    def write(self, write: Write, *, skip: bool = False) -> int:
        """Store a batch, and return how many of its ids are new; `skip` those that are not."""
        known = set(self.items)
        for row, id_ in enumerate(write.ids):
            if skip and str(id_) in known:
                continue
            entry = self.items.get(str(id_), Entry())
            if write.vectors is not None:
                entry = replace(entry, vector=write.vectors[row])
            if write.documents is not None:
                entry = replace(entry, document=write.documents[row])
            if write.metadata is not None:
                entry = replace(entry, metadata=deepcopy(write.metadata[row]))
            self.items[str(id_)] = entry
        return len(self.items) - len(known)

    def patch(self, ids: Iterable[Id], patch: dict[str, Any]) -> int:
        """Merge a patch into the metadata of items, and return how many there are."""
        n = 0
        for n, id_ in enumerate(map(str, ids), 1):  # noqa: B007 - it is returned
            metadata = self.items[id_].metadata
            after = merge_patch(metadata, patch)
            after = None if metadata is None and not after else after
            self.items[id_] = replace(self.items[id_], metadata=after)
        return n

    def clear(self) -> int:
        """Remove everything, and return how much there was."""
        n = len(self.items)
        self.items.clear()
        return n

    def delete(self, ids: Ids) -> int:
        """Remove items, and return how many were there."""
        return sum(self.items.pop(str(id_), None) is not None for id_ in ids)

    def matching(self, n: int | None) -> dict[str, Entry]:
        """Return the items whose metadata say `n`; all for None."""
        if n is None:
            return self.items
        return {
            id_: entry
            for id_, entry in self.items.items()
            if entry.metadata is not None and entry.metadata.get("n") == n
        }

    def scores(self, query: Float32s, n: int | None) -> dict[str, float]:
        """Return the score of each item that has a vector and matches."""
        found = {id_: e.vector for id_, e in self.matching(n).items() if e.vector is not None}
        if not found:
            return {}
        rows = np.array(list(found.values()), np.float64)
        scores = _scores(query.astype(np.float64), rows, self.metric)
        return dict(zip(found, scores.tolist(), strict=True))

    def check_hits(self, hits: Sequence[Hit], query: Float32s, n: int | None, k: int) -> Answer:
        """Assert what holds for every answer, and return it with the scores that it ought to have.

        As many hits as there can be, each once, of items that match, best first, each with its own
        exact score, document and metadata.
        """
        ids = [str(hit.id) for hit in hits]
        answer = self.check_ids(ids, [hit.score for hit in hits], query, n, k)
        for id_, hit in zip(ids, hits, strict=True):
            assert (hit.document, hit.metadata) == (
                self.items[id_].document,
                self.items[id_].metadata,
            )
        return answer

    def check_ids(
        self, ids: Sequence[str], scores: Sequence[float], query: Float32s, n: int | None, k: int
    ) -> Answer:
        """The same of ids and scores alone."""
        true = self.scores(query, n)
        assert len(ids) == min(k, len(true)), f"{len(ids)} hits, not {min(k, len(true))}"
        assert len(set(ids)) == len(ids), f"an item twice: {ids}"
        assert set(ids) <= set(true), f"no such items: {set(ids) - set(true)}"
        got = np.array(scores)
        assert (np.diff(got) <= 0).all(), f"not best first: {got}"
        np.testing.assert_allclose(got, [true[id_] for id_ in ids], rtol=1e-4, atol=1e-4)
        return Answer(got, np.sort(list(true.values()))[::-1][: len(ids)])


def merge_patch(target: Any, patch: Any) -> Any:
    """Return what RFC 7396 says, word for word."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


@dataclass(frozen=True)
class Answer:
    """The scores of an answer, and those of the right one."""

    got: NDArray[np.float64]
    right: NDArray[np.float64] = field(repr=False)

    def is_exact(self) -> None:
        """Assert that nothing nearer exists; equal scores may come in any order."""
        np.testing.assert_allclose(self.got, self.right, rtol=1e-4, atol=1e-4)


def _scores(query: NDArray[Any], rows: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    if metric == "l2":
        squares: NDArray[np.float64] = -((rows - query) ** 2).sum(axis=1)
        return squares
    scores: NDArray[np.float64] = rows @ query
    if metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return scores
