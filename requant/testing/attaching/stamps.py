"""Conformance of attaching: a stamp is another one when what stands there is."""

from __future__ import annotations

import pytest

from requant.adapters.errors import CorruptIndexError
from requant.testing.attaching.bench import AttachBench, N, vectors

QUERIES = vectors(5, seed=1)


class Stamps(AttachBench):
    """What a stamp tells."""

    def test_a_stamp_stays(self) -> None:
        """Asking, opening again and copying out of it leave it as it is."""
        location = self.made()
        with self.attached(location) as found:
            stamp = found.stamp()
            found.ask(QUERIES, 5)
            assert found.stamp() == stamp
            with self.attached(location) as other:
                assert other.stamp() == stamp
        with self.attached(location) as found:
            assert found.stamp() == stamp

    def test_a_stamp_is_a_short_text(self) -> None:
        """It is kept in a row of a table, and shown in an error."""
        with self.attached(self.made()) as found:
            assert found.stamp().isprintable()
            assert 0 < len(found.stamp()) < 300

    @pytest.mark.parametrize(("n", "seed"), [(N, 8), (N // 2, 7), (N + 1, 7), (0, 7)])
    def test_what_was_replaced_has_another_stamp(self, n: int, seed: int) -> None:
        """As many other vectors, fewer, one more, none: also for who still has it open."""
        location = self.made()
        found = self.backend.attach(location, self.params(self.metrics[0]))
        stamp = found.stamp()
        assert self.made(n=n, seed=seed) == location
        with self.attached(location) as other:
            assert other.stamp() != stamp
            assert found.stamp() == other.stamp()
        found.close()

    def test_other_ids_have_another_stamp(self) -> None:
        """The same vectors under the ids of each other are something else."""
        location = self.made()
        with self.attached(location) as found:
            stamp = found.stamp()
        self.make("index", vectors(N), self.ids(N)[::-1], self.metrics[0])
        with self.attached(location) as found:
            assert found.stamp() != stamp

    def test_nothing_has_no_stamp(self) -> None:
        """Once it is gone, whoever still has it open is told."""
        location = self.made()
        found = self.backend.attach(location, self.params(self.metrics[0]))
        self.remove(location)
        with pytest.raises(CorruptIndexError):
            found.stamp()
        found.close()
