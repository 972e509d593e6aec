"""Made-up embeddings, as hard to search as real ones: texts of topics, embedded as sums of words.

Words have vectors whose directions fall off by a power law, as those of real models do; words of
one topic are near each other. A text takes some words of its subject and some of all; a query takes
few of the words of one text. All share a mean. `python -m benchmarks.made_up FOLDER` shows
how near that comes to WordNet: local intrinsic dimension, and the share to be read for a recall.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.dataset import load

Floats = NDArray[np.float32]

CHUNK = 8192
TOPICS, FAMILIES, PER_FAMILY, COMMON = 40, 300, 8, 6000
# A subject is what a few texts are about: so many words of its topic.
TEXTS_A_SUBJECT, OF_SUBJECT = 4, 12
WORDS = FAMILIES * PER_FAMILY
OWN, SHARED, ASKED = 7, 3, 4
TOGETHER, MEAN, DECAY, REST = 0.7, 0.3, 0.35, 0.25


@dataclass(frozen=True)
class World:
    """The vectors of all words, `(words, d)`, and what all texts have in common, `(d,)`."""

    words: Floats
    mean: Floats
    subjects: int
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
        subject = (self.subjects * random.random(count) ** 1.5).astype(np.int64)
        topic = (TOPICS * _mixed(subject) ** 2).astype(np.int64)  # some are frequent
        own = (OF_SUBJECT * random.random((count, OWN)) ** 1.3).astype(np.int64)
        word = (WORDS * _mixed(subject[:, None] * OF_SUBJECT + own + 1)).astype(np.int64)
        common = (COMMON * random.random((count, SHARED)) ** 2).astype(np.int64)
        weights = random.gamma(2.0, 0.5, (count, OWN + SHARED)).astype(np.float32)
        return np.hstack([topic[:, None] * WORDS + word, TOPICS * WORDS + common]), weights

    def _embedded(self, chosen: NDArray[np.int64], weights: Floats) -> Floats:
        vectors = np.zeros((len(chosen), self.words.shape[1]), np.float32)
        for place in range(chosen.shape[1]):
            vectors += weights[:, place, None] * self.words[chosen[:, place]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors += self.mean
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def _mixed(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a number from 0 to 1 for each, the same for the same (splitmix64)."""
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def world(dim: int, texts: int, seed: int = 0) -> World:
    """Return a world of `dim` dimensions with subjects for so many texts; the same for a seed."""
    random = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-DECAY)
    spectrum /= np.linalg.norm(spectrum)

    def directions(count: int) -> Floats:
        found: Floats = random.standard_normal((count, dim), np.float32) * spectrum
        return found

    words = np.repeat(directions(TOPICS), WORDS, axis=0) * np.float32(REST)
    words += np.repeat(directions(TOPICS * FAMILIES), PER_FAMILY, axis=0) * np.float32(TOGETHER)
    words += directions(len(words))
    # The coordinates of real models are no axes of anything.
    turn, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    every = np.vstack([words, directions(COMMON)]) @ turn.astype(np.float32)
    mean = random.standard_normal(dim).astype(np.float32)
    mean *= np.float32(MEAN) / np.linalg.norm(mean)
    return World(every, mean, max(1, texts // TEXTS_A_SUBJECT), seed)


def vectors(made: World, count: int, threads: int) -> Floats:
    """Return `(count, d) float32`, made in chunks on so many threads."""
    rows = np.empty((count, made.words.shape[1]), np.float32)

    def fill(start: int) -> None:
        size = min(CHUNK, count - start)
        rows[start : start + size] = made.texts(start, size)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(0, count, CHUNK)))
    return rows


def intrinsic_dimension(rows: Floats, queries: Floats, k: int = 100) -> float:
    """Return the median of the maximum likelihood estimate (Levina and Bickel 2004)."""
    cosines, _ = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
    apart = np.sqrt(np.maximum(2 - 2 * cosines, 1e-9))
    return float(np.median(-1 / np.log(apart[:, :-1] / apart[:, -1:]).mean(axis=1)))


def shares(rows: Floats, queries: Floats, lists: int = 512) -> dict[float, float]:
    """Return what share of `rows` lies in the lists that have to be read, by recall@10."""
    _, nearest = faiss.knn(queries, rows, 10, metric=faiss.METRIC_INNER_PRODUCT)
    centred = rows - rows.mean(axis=0)
    means = faiss.Kmeans(rows.shape[1], lists, niter=8, spherical=True)
    means.train(centred[:: max(1, len(rows) // (lists * 40))])
    home = (centred @ means.centroids.T).argmax(axis=1)
    order = np.argsort(-(queries @ means.centroids.T), axis=1)
    ranks = np.take_along_axis(np.argsort(order, axis=1), home[nearest], axis=1)
    read = np.cumsum(np.bincount(home, minlength=lists)[order], axis=1) / len(rows)
    return {
        recall: float(read[:, int(np.quantile(ranks, recall))].mean())
        for recall in (0.8, 0.9, 0.95, 0.98, 0.99)
    }


def main() -> None:
    """Compare 40,000 texts with as many of WordNet's definitions."""
    data, count = load(Path(sys.argv[1]) if sys.argv[1:] else None), 40_000
    chosen = np.random.default_rng(0).permutation(len(data.vectors))[:count]
    made = world(data.vectors.shape[1], count)
    for name, rows, queries in (
        ("WordNet", data.vectors[chosen], data.queries[:400]),
        ("made up", vectors(made, count, 2), made.queries(count, 400)),
    ):
        told = ", ".join(
            f"{recall:g}: {share:.3f}" for recall, share in shares(rows, queries).items()
        )
        print(f"{name}: dimension {intrinsic_dimension(rows, queries):.1f}; read for recall {told}")


if __name__ == "__main__":
    main()
