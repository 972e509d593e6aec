"""The judge: what a backend answered, held against the NumPy reference on the same codes."""

from __future__ import annotations

import numpy as np

from requant.adapters.protocol import Backend, Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.distance import code_distances

_WHOLE = ("int8", "uint8", "binary")


class Judge:
    """Knows the keys and codes that an index should hold."""

    def __init__(self, spec: IndexSpec, keys: Keys, codes: Codes) -> None:
        """Expect `codes (n, w)` under `keys (n,)`."""
        order = np.argsort(keys)
        self.spec: IndexSpec = spec
        self.keys: Keys = keys[order]
        self.codes: Codes = codes[order]

    def holds(self, backend: Backend, batch: int = 65536) -> None:
        """Assert that the export is byte for byte what was given, in batches of at most `batch`.

        Of a lossy row: near it, half of the way from nothing on average.
        """
        batches = list(backend.export(batch))
        assert all(0 < len(keys) <= batch for keys, _ in batches)
        assert all(keys.dtype == np.int64 for keys, _ in batches)
        assert all(codes.dtype == self.codes.dtype for _, codes in batches)
        keys = np.concatenate([keys for keys, _ in batches]) if batches else self.keys[:0]
        codes = np.concatenate([codes for _, codes in batches]) if batches else self.codes[:0]
        order = np.argsort(keys)
        np.testing.assert_array_equal(keys[order], self.keys)
        assert len(backend) == len(self.keys)
        row = backend.capabilities.find(self.spec.code.format, self.spec.index_type)
        if row is not None and row.lossy:
            assert np.linalg.norm(codes[order] - self.codes) <= np.linalg.norm(self.codes) / 2
        else:
            np.testing.assert_array_equal(codes[order].view(np.uint8), self.codes.view(np.uint8))

    def rules(self, found: Candidates, queries: Codes, k: int, among: Keys | None = None) -> float:
        """Assert what holds for every engine, and return the recall, counted by distance.

        The shapes, the order within a row, padding at the end only, no key twice, no key that is
        not held, about the right distance for each key, as many answers as there can be.
        """
        keys, distances = found.keys, found.distances
        chosen = self.keys if among is None else np.intersect1d(self.keys, among)
        want = min(k, len(chosen))
        assert keys.shape == distances.shape == (len(queries), k)
        assert keys.dtype == np.int64
        assert distances.dtype == np.float32
        assert (keys[:, :want] >= 0).all(), "fewer answers than there are"
        assert (keys[:, want:] == -1).all()
        assert np.isposinf(distances[:, want:]).all()
        assert (np.diff(distances[:, :want], axis=1) >= 0).all(), "not nearest first"
        assert all(len(np.unique(row[:want])) == want for row in keys), "a key twice"
        assert np.isin(keys[:, :want], chosen).all(), "a key that should not be there"
        if not want or not len(queries):
            return 1.0
        cut = Candidates(keys[:, :want], distances[:, :want])
        reference, true = self._reference(queries), self.are_distances(cut, queries)
        nearest = np.sort(reference[:, np.isin(self.keys, chosen)], axis=1)[:, want - 1 : want]
        return float((true <= nearest + self._rounding(queries, reference)).mean())

    def is_exact(
        self, found: Candidates, queries: Codes, k: int, among: Keys | None = None
    ) -> None:
        """Assert `rules`, the reference's distances in its order, and each key's own distance."""
        assert self.rules(found, queries, k, among) == 1.0
        chosen = np.ones(len(self.keys), bool) if among is None else np.isin(self.keys, among)
        want = min(k, int(chosen.sum()))
        if not want or not len(queries):
            return
        reference = self._reference(queries)
        rounding = self._rounding(queries, reference)
        sorted_reference = np.sort(reference[:, chosen], axis=1)[:, :want]
        distances, keys = found.distances[:, :want], found.keys[:, :want]
        np.testing.assert_allclose(distances, sorted_reference, rtol=0, atol=rounding)
        true = self._distances_of(reference, keys)
        np.testing.assert_allclose(distances, true, rtol=0, atol=rounding)

    def are_distances(self, found: Candidates, queries: Codes) -> Float32s:
        """Assert that each distance is about that of its key, and return the exact ones.

        An engine's own compression estimates distances in its own way: those are not looked at.
        """
        reference = self._reference(queries)
        true = self._distances_of(reference, found.keys)
        if self.spec.code.format == "native":
            return true
        allowed = self._about(queries, reference) + self._rounding(queries, reference)
        np.testing.assert_allclose(found.distances, true, rtol=0, atol=allowed)
        return true

    def _distances_of(self, reference: Float32s, keys: Keys) -> Float32s:
        """Return the reference's distances of `keys (q, k)`, all of them held."""
        return np.take_along_axis(reference, np.searchsorted(self.keys, keys), axis=1)

    def _reference(self, queries: Codes) -> Float32s:
        return code_distances(queries, self.codes, self.spec.code, self.spec.metric)

    def _about(self, queries: Codes, reference: Float32s) -> float:
        """How far a distance may be off that comes from rounded look-up tables."""
        if self.spec.metric == "hamming":
            return 0.0
        farthest = code_distances(queries, self.codes, self.spec.code, "l2").max()
        return float(0.02 * np.ptp(reference) + 0.003 * farthest)

    def _rounding(self, queries: Codes, reference: Float32s) -> float:
        """How far float32 arithmetic may go astray: nowhere on whole numbers below 2**24."""
        if self.spec.code.format in _WHOLE and np.abs(reference).max() < 2**24:
            return 0.0
        norms = (queries.astype(np.float64) ** 2).sum(axis=1).max()
        return float(2e-6 * (norms + np.abs(reference).max()))
