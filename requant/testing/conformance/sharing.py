"""Conformance: threads share an index, and a forked child is told that it cannot."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from requant.adapters.protocol import Backend, Candidates, Keys
from requant.quantizers.arrays import Codes
from requant.testing.bench import Bench, Case
from requant.testing.data import make_codes, make_keys, make_queries
from requant.testing.forking import in_a_child
from requant.testing.judge import Judge


class Sharing(Bench):
    """Threads and processes."""

    def test_threads(self, row: Case) -> None:
        """Searches beside upserts and deletes answer right, and nothing is lost."""
        code, spec = self.spec(row).code, self.spec(row)
        whole = Judge(spec, make_keys(600), make_codes(code, 600))
        backend, _ = self.holding(row, whole.keys[:200], whole.codes[:200])
        started, done = threading.Barrier(3), threading.Event()

        def read() -> int:
            queries, rounds = make_queries(code, 3), 0
            started.wait(30)
            while not done.is_set() or not rounds:
                self._answers_are_true(backend, whole, queries)
                rounds += 1
            return rounds

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            started.wait(30)
            try:
                self._write(backend, whole)
            finally:
                done.set()
            assert all(reader.result() for reader in readers)
        whole.holds(backend)
        self.approve(backend, whole, make_queries(code, 10))

    def test_threads_that_ask_different_things(self, row: Case) -> None:
        """Each thread gets the answer to its own question, whatever others ask meanwhile.

        Seen by the distances: equally near keys may come in any order.
        """
        backend, judge = self.filled(row, 400)
        pushed = row.support.key_sets
        questions: list[tuple[Codes, int, Keys | None, int | None]] = [
            (make_queries(judge.spec.code, 1 + seed, seed), 5 + seed, among, effort)
            for seed, (among, effort) in enumerate(
                [
                    (None, None),
                    (None, 3),
                    (judge.keys[::3] if pushed else None, None),
                    (None, 300),
                ]
            )
        ]

        def ask(question: tuple[Codes, int, Keys | None, int | None]) -> Candidates:
            queries, k, among, effort = question
            return backend.search(queries, k, among=among, effort=effort)

        alone, started = [ask(question) for question in questions], threading.Barrier(4)

        def insist(number: int) -> None:
            started.wait(30)
            for _ in range(25):
                found = ask(questions[number])
                np.testing.assert_array_equal(found.distances, alone[number].distances)

        with ThreadPoolExecutor(4) as pool:
            for asking in [pool.submit(insist, number) for number in range(4)]:
                asking.result()

    def test_fork(self, row: Case) -> None:
        """A child either works with the index, if that is declared, or gets a ForkedError."""
        backend, judge = self.filled(row, 20)
        queries = make_queries(judge.spec.code, 1)
        verdict = in_a_child(lambda: backend.search(queries, 1))
        expected = "worked" if self.backend.capabilities.survives_fork else "refused"
        assert verdict == expected
        self.approve(backend, judge, queries)

    def _write(self, backend: Backend, judge: Judge) -> None:
        for part in np.array_split(np.arange(200, 600), 20):
            backend.upsert(judge.keys[part], judge.codes[part])
            assert backend.delete(judge.keys[part[:5]]) == 5
            backend.upsert(judge.keys[part[:5]], judge.codes[part[:5]])

    def _answers_are_true(self, backend: Backend, whole: Judge, queries: Codes) -> None:
        """Assert what is true of an answer whatever part of `whole` it was made from."""
        found = backend.search(queries, 150)
        assert np.isin(found.keys, whole.keys).all()
        assert (np.diff(found.distances, axis=1) >= 0).all()
        whole.are_distances(found, queries)
