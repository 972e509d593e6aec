"""What searches return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.search.request import Found
from requant.store import Id, Item


class Hit(NamedTuple):
    """One result: higher scores are better, whatever the metric and the engine."""

    id: Id
    score: float
    document: str | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True)
class Batch:
    """Results of many queries: `ids` a list a query, `scores (q, k) float32`, `keys (q, k) int64`.

    A query with fewer than k results has a shorter list of ids; its row of `scores` ends in -inf
    and its row of `keys` in -1.
    """

    ids: list[list[Id]]
    scores: Float32s
    keys: NDArray[np.int64]


def hits(found: Found, items: Mapping[int, Item]) -> list[Hit]:
    """Join the keys and scores of one query with their items."""
    keys, scores = found
    return [
        Hit(item.id, value, item.document, item.metadata)
        for key, value in zip(keys.tolist(), scores.tolist(), strict=True)
        if (item := items.get(key)) is not None
    ]


def batch_of(found: list[Found], names: Mapping[int, Id], k: int) -> Batch:
    """Join the keys and scores of many queries with their ids."""
    ids: list[list[Id]] = []
    all_scores = np.full((len(found), k), -np.inf, np.float32)
    all_keys = np.full((len(found), k), -1, np.int64)
    for row, (keys, scores) in enumerate(found):
        ids.append([names[key] for key in keys.tolist()])
        all_scores[row, : len(scores)] = scores
        all_keys[row, : len(keys)] = keys
    return Batch(ids, all_scores, all_keys)
