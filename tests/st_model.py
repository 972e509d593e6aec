"""A model without torch: letters counted, and what it was asked with."""

from __future__ import annotations

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyz "


class Model:
    """As a SentenceTransformer, as far as requant uses one."""

    similarity_fn_name = "cosine"
    other = "handed on"

    def __init__(self):
        """Begin with no calls."""
        self.calls = []

    def get_sentence_embedding_dimension(self):
        """27 letters."""
        return len(LETTERS)

    def encode(self, texts, **options):
        """Count letters; one text gives one vector."""
        self.calls.append(("encode", options))
        return self._vectors(texts)

    def encode_query(self, texts, **options):
        """Count letters, and remember how it was asked."""
        self.calls.append(("encode_query", options))
        return self._vectors(texts)

    def _vectors(self, texts):
        if isinstance(texts, str):
            return self._vectors([texts])[0]
        counts = np.array([[t.count(letter) for letter in LETTERS] for t in texts], np.float32)
        counts -= 0.5  # signs of both kinds
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)
