"""Conformance: the right answers."""

from __future__ import annotations

import numpy as np
import pytest

from requant.adapters.protocol import Candidates, IndexSpec
from requant.quantizers.errors import InputError, UnsupportedError
from requant.testing.bench import Bench, Case
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge


class Answers(Bench):
    """What a search returns."""

    def test_order_and_distances(self, sized: Case) -> None:
        """A batch is answered as the reference answers it, and each of its queries alone too."""
        backend, judge = self.filled(sized, 400)
        queries = make_queries(judge.spec.code, 24)
        self.approve(backend, judge, queries, k=10)
        alone = [backend.search(query, 10) for query in np.split(queries, 24)]
        keys = np.concatenate([found.keys for found in alone])
        distances = np.concatenate([found.distances for found in alone])
        self.approve_found(judge, queries, 10, Candidates(keys, distances))

    def test_a_large_index(self, row: Case) -> None:
        """The answers stay right in a large index of few dimensions, filled in several batches."""
        n, small = self.large(row), Case(row.support, row.metric, 16)
        code = self.spec(small).code
        keys, codes = make_keys(n), make_codes(code, n)
        backend = self.make(small, codes[:4000])
        for part in np.array_split(np.arange(n), 3):
            backend.upsert(keys[part], codes[part])
        judge = Judge(backend.spec, keys, codes)
        self.approve(backend, judge, make_queries(code, 30), k=40)
        judge.holds(backend, batch=3 * n // 10)

    def test_more_wanted_than_there_is(self, case: Case) -> None:
        """A row is cut at its true count."""
        backend, judge = self.filled(case, 5)
        self.approve(backend, judge, make_queries(judge.spec.code, 3), k=50)
        self.approve(backend, judge, make_queries(judge.spec.code, 1), k=50)

    def test_everything_wanted(self, case: Case) -> None:
        """With k equal to the number of items, each item is answered once."""
        backend, judge = self.filled(case, 200)
        self.approve(backend, judge, make_queries(judge.spec.code, 2), k=200)

    def test_empty_index(self, case: Case) -> None:
        """An empty index answers nothing, and has nothing to export."""
        backend = self.make(case)
        judge = Judge(backend.spec, make_keys(0), make_codes(backend.spec.code, 0))
        self.approve(backend, judge, make_queries(backend.spec.code, 2))
        judge.holds(backend)

    def test_one_item(self, case: Case) -> None:
        """One item is found by every query."""
        backend, judge = self.filled(case, 1)
        self.approve(backend, judge, make_queries(judge.spec.code, 2), k=1)
        judge.holds(backend)

    def test_no_queries(self, case: Case) -> None:
        """No queries get no answers."""
        backend, judge = self.filled(case, 20)
        found = backend.search(make_queries(judge.spec.code, 0), 4)
        assert found.keys.shape == found.distances.shape == (0, 4)

    def test_duplicate_vectors(self, case: Case) -> None:
        """Equal codes under different keys are all found.

        Ten of each: a clump of more equal codes than a node has links may be lost in any graph.
        """
        code = self.spec(case).code
        codes = np.concatenate([np.repeat(make_codes(code, 12), 10, axis=0), make_codes(code, 40)])
        backend, judge = self.holding(case, make_keys(160), codes)
        self.approve(backend, judge, make_queries(code, 3), k=130)

    def test_effort(self, case: Case) -> None:
        """More effort finds no less than the floor; no effort at all is refused."""
        backend, judge = self.filled(case, 500)
        queries = make_queries(judge.spec.code, 20)
        found = backend.search(queries, 10, effort=400)
        own = case.support.format == "native"
        least = self.native_floor if own else max(self.floor, 0.9)
        assert judge.rules(found, queries, 10) >= least
        with pytest.raises(InputError):
            backend.search(queries, 10, effort=0)

    def test_effort_is_spent(self, row: Case) -> None:
        """A graph or lists that may look at little find something else than with much effort."""
        kind = row.support.index_type
        if kind == "flat" or row.support.exact:
            pytest.skip("looks at everything")
        code = code_spec(row.support.format, 32)
        params = {**self.params.get(kind, {}), **self.coarse_params.get(kind, {})}
        judge = Judge(
            IndexSpec(code, row.metric, kind, params), make_keys(3000), make_codes(code, 3000)
        )
        backend = self.made(judge.spec, judge.codes)
        backend.upsert(judge.keys, judge.codes)
        backend = self.reopened(backend)  # an engine may build its structure when it flushes
        queries = make_queries(code, 60)
        little, much = (backend.search(queries, 10, effort=effort) for effort in (1, 1000))
        least, most = (judge.rules(found, queries, 10) for found in (little, much))
        assert not np.array_equal(little.keys, much.keys), f"recall {least:.3f} with any effort"
        assert least <= most

    def test_key_set(self, case: Case) -> None:
        """A key set is searched alone, or refused where the row does not declare it."""
        backend, judge = self.filled(case, 400)
        queries = make_queries(judge.spec.code, 8)
        if not case.support.key_sets:
            with pytest.raises(UnsupportedError):
                backend.search(queries, 5, among=judge.keys[:9])
            return
        some = np.sort(np.random.default_rng(3).choice(judge.keys, 250, replace=False))
        unknown = np.array([2**60, 2**60 + 5], np.int64)
        for among in (some, judge.keys[100:103], judge.keys, unknown, judge.keys[:0]):
            found = backend.search(queries, 5, among=among)
            self.approve_found(judge, queries, 5, found, among)
        mixed = np.sort(np.concatenate([some[:20], unknown]))
        found = backend.search(queries[:1], 50, among=mixed)
        self.approve_found(judge, queries[:1], 50, found, mixed)

    def test_codes_of_candidates(self, case: Case) -> None:
        """The candidates' own codes come back, or the wish is refused where it is not declared."""
        backend, judge = self.filled(case, 30)
        queries = make_queries(judge.spec.code, 2)
        if not case.support.codes:
            with pytest.raises(UnsupportedError):
                backend.search(queries, 5, codes=True)
            return
        found = backend.search(queries, 40, codes=True)
        assert found.codes is not None
        assert found.codes.shape == (2, 40, judge.spec.code.width)
        assert found.codes.dtype == judge.spec.code.dtype
        own = judge.codes[np.searchsorted(judge.keys, found.keys[:, :30])]
        np.testing.assert_array_equal(found.codes[:, :30], own)
        assert not found.codes[:, 30:].any()
        assert backend.search(queries, 40).codes is None
