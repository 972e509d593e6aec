"""Made-up embeddings, as hard to search as real ones: texts of topics, embedded as sums of words.

Words have vectors whose directions fall off by a power law, as those of real models do; words of
one topic are near each other. A text takes some words of its subject and some of all; a query takes
few of the words of one text. All share a mean. `python -m benchmarks.made_up WORDNET` shows how
near that comes to WordNet: local intrinsic dimension, and recall against the share that is read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CHUNK = 8192
TOPICS, SUBJECTS, PER_SUBJECT, COMMON = 300, 40, 24, 6000
OWN, SHARED, ASKED = 7, 5, 4
TOGETHER, MEAN, DECAY, REST = 1.0, 0.3, 0.3, 0.5


@dataclass(frozen=True)
class World:
    """The vectors of all words, `(words, d)`, and what all texts have in common, `(d,)`."""

    words: Floats
    mean: Floats
    seed: int

    def texts(self, start: int, count: int) -> Floats:
        """Return the vectors of texts `start` to `start + count`, of length 1."""
        return self._embedded(*self._words(start, count))

    def queries(self, start: int, count: int) -> Floats:
        """Return vectors of queries for texts that are not among those before `start`."""
        chosen, weights = self._words(start, count)
        return self._embedded(chosen[:, :ASKED], weights[:, :ASKED])

    def _words(self, start: int, count: int) -> tuple[NDArray[np.int64], Floats]:
        """Return the words of each text and how much each counts, those of its subject first."""
        random = np.random.default_rng([self.seed, start])
        topic = (TOPICS * random.random(count) ** 2).astype(np.int64)  # some are frequent
        subject = topic * SUBJECTS + (SUBJECTS * random.random(count) ** 1.5).astype(np.int64)
        own = (PER_SUBJECT * random.random((count, OWN)) ** 1.3).astype(np.int64)
        common = (COMMON * random.random((count, SHARED)) ** 2).astype(np.int64)
        weights = random.gamma(2.0, 0.5, (count, OWN + SHARED)).astype(np.float32)
        first = TOPICS * SUBJECTS * PER_SUBJECT
        return np.hstack([subject[:, None] * PER_SUBJECT + own, first + common]), weights

    def _embedded(self, chosen: NDArray[np.int64], weights: Floats) -> Floats:
        vectors = np.zeros((len(chosen), self.words.shape[1]), np.float32)
        for place in range(chosen.shape[1]):
            vectors += weights[:, place, None] * self.words[chosen[:, place]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors += self.mean
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def world(dim: int, seed: int = 0) -> World:
    """Return a world of `dim` dimensions; the same for the same seed."""
    random = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-DECAY)
    spectrum /= np.linalg.norm(spectrum)

    def directions(count: int) -> Floats:
        found: Floats = random.standard_normal((count, dim), np.float32) * spectrum
        return found

    words = np.repeat(directions(TOPICS), SUBJECTS * PER_SUBJECT, axis=0) * np.float32(REST)
    words += np.repeat(directions(TOPICS * SUBJECTS), PER_SUBJECT, axis=0) * np.float32(TOGETHER)
    words += directions(len(words))
    # The coordinates of real models are no axes of anything.
    turn, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    every = np.vstack([words, directions(COMMON)]) @ turn.astype(np.float32)
    mean = random.standard_normal(dim).astype(np.float32)
    return World(every, np.float32(MEAN) * mean / np.linalg.norm(mean), seed)


def vectors(made: World, count: int, threads: int) -> Floats:
    """Return `(count, d) float32`, made in chunks on so many threads."""
    rows = np.empty((count, made.words.shape[1]), np.float32)

    def fill(start: int) -> None:
        size = min(CHUNK, count - start)
        rows[start : start + size] = made.texts(start, size)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(0, count, CHUNK)))
    return rows
