"""Conformance of attaching: the right answers, nothing written, and refusals by name."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.protocol import Attached, Attaching
from requant.quantizers.errors import DimensionError, InputError
from requant.testing.attaching.bench import AttachBench, D, Metric, N, nearest, vectors
from requant.testing.attaching.files import AttachedFiles
from requant.testing.attaching.stamps import Stamps
from requant.testing.forking import in_a_child

K = 10
QUERIES = vectors(20, seed=1)


class Answers(AttachBench):
    """What an attached index answers, and what it refuses."""

    def test_order(self, metric: Metric) -> None:
        """The answers are those of brute force, of a batch and of each query alone."""
        held, ids = vectors(N), self.ids(N)
        with self.attached(self.make("index", held, ids, metric), metric) as found:
            assert (found.dim, found.metric, len(found)) == (D, metric, N)
            wanted = nearest(ids, held, QUERIES, K, metric)
            assert found.ask(QUERIES, K) == wanted
            assert found.ask(QUERIES, K, effort=50) == wanted
            assert [found.ask(query, K)[0] for query in np.split(QUERIES, 20)] == wanted

    def test_more_wanted_than_there_is(self) -> None:
        """All of it is answered, each once."""
        with self.attached(self.made(n=3)) as found:
            for k in (3, 4, 10**9):
                for answer in found.ask(QUERIES, k):
                    assert sorted(answer) == sorted(map(str, self.ids(3)))

    def test_an_empty_index(self) -> None:
        """An empty index answers nothing."""
        with self.attached(self.made(n=0)) as found:
            assert (len(found), found.ask(QUERIES[:2], 3)) == (0, [[], []])
            assert found.ask(QUERIES[:1], 10**9) == [[]]

    def test_bad_questions(self) -> None:
        """Wrong shapes, dtypes and numbers are refused; no queries get no answers."""
        with self.attached(self.made()) as found:
            assert found.ask(QUERIES[:0], 3) == []
            for queries in (QUERIES[:, :5], QUERIES[0]):
                with pytest.raises(DimensionError):
                    found.ask(queries, 3)
            for value in (np.nan, np.inf):
                queries = QUERIES.copy()
                queries[4, 1] = value
                with pytest.raises(InputError, match="row 4"):
                    found.ask(queries, 3)
            for k in (0, -1):
                with pytest.raises(InputError):
                    found.ask(QUERIES, k)
            with pytest.raises(InputError, match="effort"):
                found.ask(QUERIES, 3, effort=0)
            with pytest.raises(InputError):
                found.ask(QUERIES.astype(np.float64), 3)

    def test_bad_params(self) -> None:
        """Parameters that there are not, or that cannot be, are refused by name."""
        location, good = self.made(), self.params(self.metrics[0])
        with pytest.raises(InputError, match="no parameter 'nonsense'"):
            self.backend.attach(location, {**good, "nonsense": 1})
        for bad in self.bad_params:
            with pytest.raises(InputError, match=next(iter(bad))):
                self.backend.attach(location, {**good, **bad})

    def test_nothing_there(self) -> None:
        """Where there is nothing, nothing is opened and nothing is made."""
        location = self.made()
        self.remove(location)
        with pytest.raises(CorruptIndexError):
            self.backend.attach(location, self.params(self.metrics[0]))
        with pytest.raises(CorruptIndexError):
            self.backend.attach(location, self.params(self.metrics[0]))

    def test_threads(self) -> None:
        """Several threads get the answers that one gets."""
        with self.attached(self.made()) as found, ThreadPoolExecutor(4) as pool:
            wanted = nearest(self.ids(N), vectors(N), QUERIES, K, self.metrics[0])
            for answers in pool.map(lambda _: found.ask(QUERIES, K), range(40)):
                assert answers == wanted

    def test_closed(self) -> None:
        """A closed one says so, whatever is asked of it; closing twice is harmless."""
        with self.attached(self.made()) as found:
            pass
        found.close()
        for use in (lambda: found.ask(QUERIES, K), lambda: len(found), found.stamp):
            with pytest.raises(EngineError, match="closed"):
                use()

    def test_fork(self) -> None:
        """A forked child is refused, and what it does does not harm its parent."""
        with self.attached(self.made()) as found:
            wanted = found.ask(QUERIES, K)
            for use in (lambda: found.ask(QUERIES, K), lambda: len(found), found.stamp):
                assert in_a_child(use) == "refused"
            assert in_a_child(found.close) == "worked"
            assert found.ask(QUERIES, K) == wanted

    def test_signatures_are_the_protocols(self) -> None:
        """Names, order, kinds and defaults of all parameters are those of the protocol."""
        assert issubclass(self.backend, Attaching)
        assert _parameters(self.backend.attach) == _parameters(Attaching.attach)
        with self.attached(self.made()) as found:
            for name in ("ask", "stamp", "__len__", "close"):
                own = _parameters(getattr(type(found), name))
                assert own == _parameters(getattr(Attached, name)), name


class AttachConformance(Answers, Stamps):
    """Subclass it in a test file, name the backend and let `make` make an index of its engine's.

    ```python
    class TestMyEngine(AttachConformance):
        backend = MyBackend

        def make(self, name, vectors, ids, metric):
            my_engine.write(self.folder / name, vectors, ids, metric)
            return str(self.folder / name)
    ```
    """


class AttachFileConformance(AttachConformance, AttachedFiles):
    """The same for an engine whose index is one file, which is mapped or, by `mmap`, read."""


def _parameters(function: object) -> list[tuple[str, object, object]]:
    assert callable(function)
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]
