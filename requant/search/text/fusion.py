"""Two rankings as one: by words and by nearness, by reciprocal rank (Cormack et al. 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from requant.errors import InputError
from requant.quantizers.arrays import Float32s
from requant.search.choosing import FieldValues
from requant.search.finder import Finder, Ranked, best_of
from requant.search.request import MAX_K, Found, Request
from requant.search.results import Ranks
from requant.search.text.ranked import ByWords

# Added to each rank. Measured on WordNet: with the usual 60, what is in the middle of both lists
# comes before what is first in one of them, and less is found than by nearness alone.
CONSTANT = 2
# How much of each list counts, at least; of words, which cost little, so many times as much.
LEAST, MORE_WORDS = 10, 3
# Scores are float32: what is far beyond any use would be infinite there, or 0.
HEAVIEST = 1e6

Weights = tuple[float, float]


def check_weights(given: Any) -> Weights:
    """Return the weights of words and of nearness; raises InputError."""
    try:
        words, nearness = (float(one) for one in given)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"weights must be two numbers, of the text and of the vector, not {given!r:.80}"
        ) from error
    usable = all(0 <= one <= HEAVIEST for one in (words, nearness))
    if not usable or not max(words, nearness) >= 1 / HEAVIEST:
        raise InputError(
            f"weights must be two numbers from 0 to {HEAVIEST:g}, not both 0, not {given!r:.80}"
        )
    return words, nearness


class Fused:
    """Ranks items by their places in two lists; a `Ranker`."""

    def __init__(
        self, words: ByWords, near: Finder, weights: Weights, min_score: float | None
    ) -> None:
        """Make one list of those of `words` and `near`, of which neither leaves out low scores."""
        self._words = words
        self._near = near
        self._weights = weights
        self._min_score = min_score
        self.fields: FieldValues = near.fields
        self.ranks: dict[int, Ranks] = {}
        self._whole: Found | None = None

    @property
    def first(self) -> tuple[Request, list[Found]]:
        """What the first search by nearness was, and found."""
        return self._near.first

    def run(self, queries: Float32s, count: int, where: Mapping[str, Any] | None = None) -> Ranked:
        """Return the best `count` that `where` lets through; their ranks are left in `ranks`.

        An item has the rank in each list that it has without `where`.
        """
        count = min(count, MAX_K)
        keys, scores = self._whole or self._ranked(queries, max(count, LEAST))
        if where is not None:
            met = self._words.met(keys, where)
            keys, scores = keys[met], scores[met]
        keys, scores = best_of((keys[:count], scores[:count]), self._min_score)
        return Ranked([(keys, scores)], [len(keys) < count or count == MAX_K])

    def settle(self, queries: Float32s, count: int) -> Found | None:
        """Rank all there is, so that the same ranks count whatever filters follow."""
        self._whole = self._ranked(queries, MAX_K)
        return self.run(queries, count).found[0]

    def _ranked(self, queries: Float32s, depth: int) -> Found:
        lists = [
            ranker.run(queries, min(reach, MAX_K)).found[0][0].tolist() if weight else []
            for ranker, reach, weight in (
                (self._words, depth * MORE_WORDS, self._weights[0]),
                (self._near, depth, self._weights[1]),
            )
        ]
        return self._fused(*lists)

    def _fused(self, words: list[int], near: list[int]) -> Found:
        by_words = {key: rank for rank, key in enumerate(words, 1)}
        by_nearness = {key: rank for rank, key in enumerate(near, 1)}
        every = np.array(sorted({*words, *near}), np.int64)
        self.ranks = {key: Ranks(by_words.get(key), by_nearness.get(key)) for key in every.tolist()}
        scores = np.array([self._score(ranks) for ranks in self.ranks.values()], np.float32)
        order = np.argsort(-scores, kind="stable")  # a tie goes to the older item
        return every[order], scores[order]

    def _score(self, ranks: Ranks) -> float:
        pairs = zip(self._weights, ranks, strict=True)
        return sum(weight / (CONSTANT + rank) for weight, rank in pairs if rank is not None)
