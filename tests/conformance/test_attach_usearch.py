"""usearch files of other programs, asked as they are."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from usearch.index import Index, ScalarKind

from requant.adapters.errors import CorruptIndexError
from requant.adapters.protocol import Attached
from requant.adapters.usearch import UsearchBackend
from requant.quantizers.errors import InputError
from requant.testing import AttachFileConformance
from tests import inside
from tests.conformance.attaching import attached_by

N, D, K = 1500, 32, 10
RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
QUERIES = RNG.normal(size=(20, D)).astype(np.float32)
KEYS = RNG.permutation(10**6)[:N].astype(np.uint64)
TOLD = {"cos": "cosine", "ip": "ip", "l2sq": "l2"}


class TestAttachedUsearch(AttachFileConformance):
    backend = UsearchBackend
    bad_params = (
        {"exact": 1},
        {"expansion_search": -1},
        {"metric": "hamming"},
        {"mmap": None},
        {"threads": -1},
    )

    def make(self, name, vectors, ids, metric):
        kind = {"cosine": "cos", "ip": "ip", "l2": "l2sq"}[metric]
        index = Index(ndim=vectors.shape[1], metric=kind, dtype="f32")
        if len(ids):
            index.add(np.array(ids, np.uint64), vectors)
        index.save(str(self.folder / name))
        return str(self.folder / name)

    def params(self, metric):
        return {"exact": True}

    def ids(self, n):
        return [0, 1, 2**63 + 5, *range(2, n)][:n]


def made(path: Path, dtype: str = "f32", metric: str = "cos", **options: Any) -> Index:
    """Save an index and return it as anybody reads it again."""
    index = Index(ndim=D, metric=metric, dtype=dtype, **options)
    index.add(KEYS, VECTORS)
    index.remove(KEYS[:20])
    index.save(str(path))
    return Index.restore(str(path))


def attached(path: Path, **params: Any) -> AbstractContextManager[Attached]:
    return attached_by(UsearchBackend, path, **params)


def texts(matches: Any) -> list[list[str]]:
    return [[str(match.key) for match in matches[row]] for row in range(len(matches))]


@pytest.mark.parametrize("metric", ["cos", "ip", "l2sq"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_answers_are_those_of_usearch(tmp_path: Path, dtype: str, metric: str) -> None:
    own = made(tmp_path / "i.usearch", dtype, metric)
    with attached(tmp_path / "i.usearch") as foreign:
        assert (foreign.dim, foreign.metric, len(foreign)) == (D, TOLD[metric], N - 20)
        assert foreign.ask(QUERIES, K) == texts(own.search(QUERIES, K))
        one = [str(key) for key in own.search(QUERIES[0], K).keys]
        assert foreign.ask(QUERIES[:1], K) == [one]
    with attached(tmp_path / "i.usearch", exact=True, mmap=False) as foreign:
        assert foreign.ask(QUERIES, K) == texts(own.search(QUERIES, K, exact=True))


def test_bits_are_asked_for_the_signs(tmp_path: Path) -> None:
    bits = Index(ndim=D, metric="hamming", dtype="b1")
    bits.add(KEYS, np.packbits(VECTORS > 0, axis=1))
    bits.save(str(tmp_path / "bits"))
    signs = np.packbits(QUERIES > 0, axis=1)
    with attached(tmp_path / "bits", metric="cosine") as foreign:
        assert (foreign.dim, foreign.metric) == (D, "cosine")
        own = Index.restore(str(tmp_path / "bits"))
        assert foreign.ask(QUERIES, K) == texts(own.search(signs, K, dtype=ScalarKind.B1))
    with attached(tmp_path / "bits") as foreign:
        assert foreign.metric is None


def test_a_graph_is_walked_as_wished(tmp_path: Path) -> None:
    own = made(tmp_path / "i.usearch", connectivity=4, expansion_add=8)
    found = {}
    for effort in (1, 500):
        own.expansion_search = effort
        found[effort] = texts(own.search(QUERIES, K))
    with attached(tmp_path / "i.usearch", expansion_search=1) as foreign:
        assert foreign.ask(QUERIES, K) == found[1] != found[500]
        assert foreign.ask(QUERIES, K, effort=500) == found[500]
        assert foreign.ask(QUERIES, K) == found[1]


def test_a_graph_of_hardly_any_links_is_scanned(tmp_path: Path) -> None:
    own = made(tmp_path / "i.usearch", connectivity=2, expansion_add=1)
    with attached(tmp_path / "i.usearch") as foreign:
        assert foreign.ask(QUERIES, K) == texts(own.search(QUERIES, K, exact=True))


@pytest.mark.parametrize("dtype", ["f32", "i8"])
def test_a_file_that_contradicts_itself_is_not_opened(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of these end a process that searches the file."""
    monkeypatch.setattr(inside.USEARCH_TRY, lambda path: pytest.fail("it was opened"))
    path = tmp_path / "i.usearch"
    made(path, dtype)
    whole = path.read_bytes()
    header = whole.index(b"usearch")
    levels = header + 104
    node = levels + 2 * N
    places = {
        "the number of vectors": 0, "the name of the format": header, "dimensions": header + 33,
        "the number of nodes": header + 64, "links above": header + 72,
        "links on the ground": header + 80, "the first node": header + 97,
        "a level": levels, "the level of a node": node + 8, "how many links": node + 11,
        "a link": node + 15,
    }  # fmt: skip
    for place in places.values():
        data = bytearray(whole)
        data[place] ^= 128
        path.write_bytes(data)
        with pytest.raises(CorruptIndexError):
            UsearchBackend.attach(str(path), {})
    for end in (0, 7, 100, header + 50, node + 1, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(CorruptIndexError):
            UsearchBackend.attach(str(path), {})


def test_a_file_that_ends_the_process_which_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "i.usearch"
    made(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"usearch") + 13] = 7  # a metric that there is not
    path.write_bytes(data)
    with pytest.raises(CorruptIndexError, match="in a process of its own"):
        UsearchBackend.attach(str(path), {})


def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i.usearch"
    made(path)
    tried = []
    monkeypatch.setattr(inside.USEARCH_TRY, tried.append)
    for _ in range(3):
        UsearchBackend.attach(str(path), {}).close()
    assert len(tried) == 1
    os.utime(path, (1, 1))
    UsearchBackend.attach(str(path), {}).close()
    assert len(tried) == 2


def test_another_metric_is_refused(tmp_path: Path) -> None:
    Index(ndim=D, metric="tanimoto", dtype="b1").save(str(tmp_path / "tanimoto"))
    with pytest.raises(InputError, match="none of floats"):
        UsearchBackend.attach(str(tmp_path / "tanimoto"), {})
    made(tmp_path / "l2", metric="l2sq")
    with pytest.raises(InputError, match="compares by l2, not by ip"):
        UsearchBackend.attach(str(tmp_path / "l2"), {"metric": "ip"})


def test_threads_share_a_graph(tmp_path: Path) -> None:
    own = made(tmp_path / "i.usearch")
    with attached(tmp_path / "i.usearch") as found, ThreadPoolExecutor(4) as pool:
        wanted = texts(own.search(QUERIES, K))
        for answers in pool.map(lambda _: found.ask(QUERIES, K), range(40)):
            assert answers == wanted
