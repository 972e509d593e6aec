"""Flat indexes in a number format that NumPy may not know: a usearch index, read as a whole."""

from __future__ import annotations

from requant.adapters.protocol import Candidates, Keys
from requant.adapters.usearch.arguments import given
from requant.adapters.usearch.graph import GraphIndex
from requant.quantizers.arrays import Codes


class ScannedIndex(GraphIndex):
    """A usearch index with hardly any links, which take no time to build and are never followed."""

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Compare every code."""
        want = min(k, len(self)) if len(queries) else 0
        if not want:
            return Candidates.empty(self._spec, len(queries), k, codes)
        found = self._matches(given(self._spec, queries), want, exact=True)
        return self._answer(*found, k, codes)
