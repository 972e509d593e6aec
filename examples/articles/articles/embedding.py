"""Texts to vectors: by a model of sentence-transformers, or by a small one made here.

The small one learns a vector for each word: the mean of the vectors of the definitions that it is
used in, of the 8,000 in `examples/wordnet`. A text is the mean of its words, those that are rare
counting more. It needs no download, and is good enough to see that a search works.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from articles.settings import MODEL, WORDNET

DIM = 384
_WORD = re.compile(r"[^\W\d_]+")


class NoKnownWordError(ValueError):
    """Nothing in a text has a meaning here."""


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors `(n, 384)` of texts; raises NoKnownWordError."""
    return _words().embed(texts) if not MODEL else np.asarray(_model().encode(list(texts)))


class Words:
    """A vector for each word."""

    def __init__(self, vectors: NDArray[np.float32], texts: Sequence[str]) -> None:
        """Learn from texts, `(n, 384)` vectors of them."""
        used = [set(_words_of(text)) for text in texts]
        counts = Counter(word for words in used for word in words)
        self._row = {word: row for row, word in enumerate(counts)}
        sums = np.zeros((len(counts), vectors.shape[1]), np.float32)
        for vector, words in zip(vectors - vectors.mean(0), used, strict=True):
            sums[[self._row[word] for word in words]] += vector / max(len(words), 1)
        rare = np.log(len(texts) / np.array(list(counts.values()), np.float32))
        self._vectors = sums / np.linalg.norm(sums, axis=1, keepdims=True) * rare[:, None]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return `(n, 384)`; raises NoKnownWordError."""
        return np.array([self._mean(text) for text in texts], np.float32)

    def _mean(self, text: str) -> NDArray[np.float32]:
        rows = [self._row[word] for word in _words_of(text) if word in self._row]
        if not rows:
            raise NoKnownWordError(f"no word of {text[:60]!r} is known")
        return self._vectors[rows].mean(0)


def definitions() -> tuple[list[dict[str, Any]], NDArray[np.float32]]:
    """Return the example data: 8,000 definitions of WordNet, and their vectors."""
    with gzip.open(WORDNET / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    return items, np.load(WORDNET / "vectors_f16.npy").astype(np.float32)


@cache
def _words() -> Words:
    items, vectors = definitions()
    return Words(vectors, [" ".join([item["text"], *item["lemmas"]]) for item in items])


@cache
def _model() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(MODEL)


def _words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())
