"""Conformance: what is written is what is held, and what is deleted is gone."""

from __future__ import annotations

import numpy as np

from requant.testing.bench import Bench, Case
from requant.testing.data import make_codes, make_keys, make_queries
from requant.testing.judge import Judge


class Writes(Bench):
    """Upserts, deletes and exports."""

    def test_export_gives_every_byte_back(self, sized: Case) -> None:
        """The export holds each code as it was given, in batches of the size that was asked for."""
        backend, judge = self.filled(sized, 150)
        judge.holds(backend)
        judge.holds(backend, batch=40)

    def test_upsert_replaces(self, case: Case) -> None:
        """A known key gets the new code, beside new keys in the same batch."""
        backend, old = self.filled(case, 200)
        new = make_codes(old.spec.code, 120, seed=5)
        keys = np.concatenate([old.keys[50:150], make_keys(20) + 2**50])
        backend.upsert(keys, new)
        stays = np.r_[0:50, 150:200]
        judge = Judge(
            old.spec,
            np.concatenate([old.keys[stays], keys]),
            np.concatenate([old.codes[stays], new]),
        )
        judge.holds(backend)
        self.approve(backend, judge, make_queries(old.spec.code, 10))

    def test_delete(self, case: Case) -> None:
        """Deleted keys are counted, gone from every answer, and may come back."""
        backend, old = self.filled(case, 200)
        gone = old.keys[20:140]
        unknown = np.array([2**60, 2**60 + 1], np.int64)
        assert backend.delete(np.concatenate([gone, unknown])) == 120
        assert backend.delete(gone) == 0
        left = np.r_[0:20, 140:200]
        judge = Judge(old.spec, old.keys[left], old.codes[left])
        judge.holds(backend)
        queries = make_queries(old.spec.code, 10)
        self.approve(backend, judge, queries)
        self.approve(backend, judge, queries, k=100)
        backend.upsert(gone, old.codes[20:140])
        old.holds(backend)
        self.approve(backend, old, queries)

    def test_delete_everything(self, case: Case) -> None:
        """An emptied index is empty, and takes items again."""
        backend, judge = self.filled(case, 60)
        assert backend.delete(judge.keys[::-1]) == 60
        nothing = Judge(judge.spec, judge.keys[:0], judge.codes[:0])
        nothing.holds(backend)
        queries = make_queries(judge.spec.code, 2)
        self.approve(backend, nothing, queries)
        backend.upsert(judge.keys, judge.codes)
        judge.holds(backend)
        self.approve(backend, judge, queries)

    def test_many_small_writes(self, case: Case) -> None:
        """A long row of random upserts and deletes leaves what a dictionary would hold."""
        code, rng = self.spec(case).code, np.random.default_rng(7)
        backend, pool = self.make(case), make_codes(code, 1000)
        expected: dict[int, int] = {}
        for _ in range(60):
            keys = rng.choice(150, rng.integers(1, 25), replace=False).astype(np.int64)
            if rng.random() < 0.4:
                assert backend.delete(keys) == sum(int(key) in expected for key in keys)
                expected = {key: row for key, row in expected.items() if key not in keys}
            else:
                rows = rng.integers(0, 1000, len(keys))
                backend.upsert(keys, pool[rows])
                expected |= dict(zip(keys.tolist(), rows.tolist(), strict=True))
            assert len(backend) == len(expected)
        judge = Judge(backend.spec, np.array(list(expected)), pool[list(expected.values())])
        judge.holds(backend)
        self.approve(backend, judge, make_queries(code, 10))

    def test_keys_of_all_sizes_in_any_order(self, case: Case) -> None:
        """Keys are any numbers below 2**62, in any order."""
        keys = np.array([2**62 - 1, 0, 2**61, 2**32, 1, 2**31, 2**53 + 1, 2**61 + 1], np.int64)
        backend, judge = self.holding(case, keys, make_codes(self.spec(case).code, 8))
        judge.holds(backend)
        self.approve(backend, judge, make_queries(judge.spec.code, 2), k=8)
        assert backend.delete(keys[:1]) == 1
        Judge(judge.spec, judge.keys[:-1], judge.codes[:-1]).holds(backend)

    def test_empty_batches(self, case: Case) -> None:
        """Nothing may be written and deleted."""
        backend, judge = self.filled(case, 10)
        backend.upsert(judge.keys[:0], judge.codes[:0])
        assert backend.delete(judge.keys[:0]) == 0
        judge.holds(backend)

    def test_arrays_stay_the_callers(self, case: Case) -> None:
        """Strided arrays are taken, arguments are not changed, and later changes do no harm."""
        code = self.spec(case).code
        keys, codes, queries = make_keys(40), make_codes(code, 80)[::2], make_queries(code, 6)[::2]
        before = keys.copy(), codes.copy(), queries.copy()
        backend, _ = self.holding(case, keys, codes)
        found = backend.search(queries, 5)
        again = found.keys.copy(), found.distances.copy()
        for array, copy in zip((keys, codes, queries), before, strict=True):
            np.testing.assert_array_equal(array, copy)
        codes[:], keys[:] = 0, 0
        Judge(backend.spec, before[0], before[1]).holds(backend)
        backend.delete(before[0][:20])
        np.testing.assert_array_equal(found.keys, again[0])
        np.testing.assert_array_equal(found.distances, again[1])
