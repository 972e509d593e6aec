"""Conformance: what was flushed is there after opening, and files are not changed behind backs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from requant.adapters import making
from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.protocol import Backend
from requant.testing.bench import Bench, Case
from requant.testing.data import make_codes, make_keys, make_queries
from requant.testing.judge import Judge


class Durability(Bench):
    """Flush, open, close."""

    def test_reopened_index_is_the_same(self, case: Case) -> None:
        """The same content and the same answers, and writes go on."""
        self._survives(case, mmap=False)

    def test_mapped_index_is_the_same(self, case: Case) -> None:
        """The same with a mapped file, which is never written to; without maps, it is read."""
        self._survives(case, mmap=True)

    def test_empty_index_survives(self, case: Case) -> None:
        """An empty index can be flushed, opened and filled."""
        for mmap in (False, True):
            backend = self.reopened(self.make(case), mmap)
            assert len(backend) == 0
            judge = Judge(backend.spec, make_keys(30), make_codes(backend.spec.code, 30))
            backend.upsert(judge.keys, judge.codes)
            judge.holds(backend)
            backend.delete(judge.keys)
            backend.flush(self.location())
            backend.close()

    def test_deletions_survive(self, case: Case) -> None:
        """What was deleted before a flush stays deleted, even where it is only marked."""
        backend, judge = self.filled(case, 100)
        backend.delete(judge.keys[::9])
        left = np.delete(np.arange(100), np.arange(0, 100, 9))
        judge = Judge(judge.spec, judge.keys[left], judge.codes[left])
        backend = self.reopened(backend)
        judge.holds(backend)
        self.approve(backend, judge, make_queries(judge.spec.code, 5), k=60)

    def test_another_spec_is_refused(self, case: Case) -> None:
        """An index opened as what it is not is refused instead of answering nonsense."""
        backend, _ = self.filled(case, 20)
        self.reopened(backend).close()
        other = self.spec(Case(case.support, case.metric, 8 * case.dim))
        with pytest.raises(CorruptIndexError):
            making.open(self.backend, other, self.location())

    def test_another_kind_is_refused(self, case: Case) -> None:
        """So is one opened under any other metric, code format or index type that there is."""
        backend, judge = self.filled(case, 20)
        self.reopened(backend).close()
        for row in self.backend.capabilities.supports:
            for metric in row.metrics:
                other = self.spec(Case(row, metric, case.dim))
                if other == judge.spec:
                    continue
                with pytest.raises(CorruptIndexError):
                    self._kept(making.open(self.backend, other, self.location()))
        judge.holds(self._kept(making.open(self.backend, judge.spec, self.location())))

    def test_another_format_of_the_same_width_is_refused(self, case: Case) -> None:
        """Rows of as many bytes are no proof: packed bits are not small numbers."""
        backend, judge = self.filled(case, 20)
        self.reopened(backend).close()
        width = judge.spec.code.width
        for row in self.backend.capabilities.supports:
            for dim in (width, 2 * width, 4 * width, 8 * width):
                other = self.spec(Case(row, row.metrics[0], dim))
                same = (other.code.width, other.code.dtype) == (width, judge.spec.code.dtype)
                if same and other.code != judge.spec.code:
                    with pytest.raises(CorruptIndexError):
                        self._kept(making.open(self.backend, other, self.location()))

    def test_what_stands_there_is_not_touched(self, live: Case) -> None:
        """A live index is not created over another one, unless that may be replaced."""
        backend, judge = self.filled(live, 20)
        self.reopened(backend).close()
        where, spec = self.location(), self.spec(live)
        sample = make_codes(spec.code, 200)
        with pytest.raises(LocationTakenError):
            making.create(self.backend, spec, where, sample=sample)
        kept = making.open(self.backend, spec, where)
        judge.holds(kept)
        kept.close()
        fresh = self._kept(making.create(self.backend, spec, where, sample=sample, overwrite=True))
        assert len(fresh) == 0
        fresh.upsert(judge.keys, judge.codes)
        judge.holds(fresh)

    def test_dropped_index_is_gone(self, row: Case) -> None:
        """What was dropped cannot be opened; dropping nothing is harmless."""
        backend, _ = self.filled(row, 20)
        self.reopened(backend).close()
        spec, where = self.spec(row), self.location()
        self.backend.drop(spec, where)
        self.backend.drop(spec, where)
        with pytest.raises(CorruptIndexError):
            making.open(self.backend, spec, where)

    def test_closed_index_is_refused(self, case: Case) -> None:
        """A closed index says so; closing twice is harmless."""
        backend, judge = self.filled(case, 5)
        backend.close()
        backend.close()
        with pytest.raises(EngineError, match="closed"):
            backend.search(make_queries(judge.spec.code, 1), 1)
        with pytest.raises(EngineError, match="closed"):
            backend.upsert(judge.keys, judge.codes)

    def _survives(self, case: Case, mmap: bool) -> None:
        before, judge = self.filled(case, 250)
        queries = make_queries(judge.spec.code, 10)
        expected = before.search(queries, 7)
        backend = self.reopened(before, mmap)
        found = backend.search(queries, 7)
        np.testing.assert_array_equal(found.distances, expected.distances)
        np.testing.assert_array_equal(found.keys, expected.keys)
        judge.holds(backend)
        image = self._image()
        judge = self._write_on(backend, judge)
        assert self._image() == image, "the file was written to before a flush"
        judge.holds(self.reopened(backend))

    def _write_on(self, backend: Backend, old: Judge) -> Judge:
        backend.delete(old.keys[:3])
        new = make_codes(old.spec.code, 40, seed=8)
        keys = np.concatenate([old.keys[3:23], make_keys(20) + 2**50])
        backend.upsert(keys, new)
        judge = Judge(
            old.spec,
            np.concatenate([old.keys[23:], keys]),
            np.concatenate([old.codes[23:], new]),
        )
        judge.holds(backend)
        self.approve(backend, judge, make_queries(old.spec.code, 10))
        return judge

    def _image(self) -> bytes:
        file = self.backend.capabilities.storage == "file"
        return Path(self.location()).read_bytes() if file else b""
