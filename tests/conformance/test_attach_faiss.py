"""FAISS files of other programs, asked as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from faiss.contrib.ondisk import merge_ondisk

from requant.adapters.errors import CorruptIndexError
from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import Attached
from requant.quantizers.errors import InputError
from requant.testing import AttachFileConformance
from tests.conformance.attaching import attached_by

N, D, K = 2000, 32, 10
RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)
QUERIES = RNG.normal(size=(20, D)).astype(np.float32)
BITS = np.packbits(VECTORS > 0, axis=1)
IDS = RNG.permutation(10**6)[:N]
LABELLED = ("IDMap,Flat", "IDMap2,HNSW16,SQ8", "IVF16,Flat", "IDMap,PCA16,IVF16,SQ8")
KINDS = (
    "Flat", "SQ8", "SQfp16", "PQ8x4", "PQ8x4fs", "HNSW16,Flat", "IVF16,PQ8x4", "IVF16,SQ8,RFlat",
    "PCA16,Flat", "IVF16_HNSW8,Flat", *LABELLED,
)  # fmt: skip
CASES = [(kind, metric) for kind in KINDS for metric in ("ip", "l2")]
CASES += [("NSG16,Flat", "l2"), ("LSH", "l2")]


class TestAttachedFaiss(AttachFileConformance):
    backend = FaissBackend
    bad_params = ({"nprobe": -1}, {"efSearch": True}, {"metric": "hamming"}, {"mmap": 1})

    def make(self, name, vectors, ids, metric):
        if metric == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        flat = faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP
        index = faiss.IndexIDMap(flat(vectors.shape[1]))
        index.add_with_ids(vectors, np.array(ids, np.int64))
        faiss.write_index(index, str(self.folder / name))
        return str(self.folder / name)

    def params(self, metric):
        return {"metric": "cosine"} if metric == "cosine" else {}

    def ids(self, n):
        return [-5, 0, 2**62, *range(1, n)][:n]


def made(kind: str, metric: int = faiss.METRIC_L2) -> Any:
    index = faiss.index_factory(D, kind, metric)
    for owner in (faiss.try_extract_index_ivf(index), getattr(index, "pq", None)):
        if owner is not None:
            owner.cp.min_points_per_centroid = 1
    index.train(VECTORS)
    index.add_with_ids(VECTORS, IDS) if kind in LABELLED else index.add(VECTORS)
    return index


def attached(path: Path, **params: Any) -> AbstractContextManager[Attached]:
    return attached_by(FaissBackend, path, **params)


def texts(labels: Any) -> list[list[str]]:
    return [[str(label) for label in row if label != -1] for row in labels.tolist()]


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_answers_are_those_of_faiss(tmp_path: Path, kind: str, metric: str) -> None:
    codes = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
    faiss.write_index(made(kind, codes[metric]), str(tmp_path / "i.faiss"))
    own = faiss.read_index(str(tmp_path / "i.faiss"))
    for mmap in (True, False):
        with attached(tmp_path / "i.faiss", mmap=mmap) as foreign:
            assert (foreign.dim, foreign.metric, len(foreign)) == (D, metric, N)
            assert foreign.ask(QUERIES, K) == texts(own.search(QUERIES, K)[1])
            assert foreign.ask(QUERIES[:1], K) == texts(own.search(QUERIES[:1], K)[1])


@pytest.mark.parametrize(
    "kind", ["IVF16,Flat", "IDMap,PCA16,IVF16,SQ8", "IVF16,SQ8,RFlat", "IVF16,PQ8x4fs"]
)
def test_lists_are_read_as_wished(tmp_path: Path, kind: str) -> None:
    index = made(kind)
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    found = {}
    for probes in (1, 5, 16):
        faiss.extract_index_ivf(index).nprobe = probes
        found[probes] = texts(index.search(QUERIES, K)[1])
    with attached(tmp_path / "i.faiss", nprobe=5) as foreign:
        assert foreign.ask(QUERIES, K) == found[5]
        assert foreign.ask(QUERIES, K, effort=16) == found[16]
    with attached(tmp_path / "i.faiss") as foreign:
        assert foreign.ask(QUERIES, K) == found[1] != found[16]


def test_a_graph_is_walked_as_wished(tmp_path: Path) -> None:
    index = made("IDMap2,HNSW16,SQ8")
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    found = {}
    for ef in (10, 300):
        faiss.downcast_index(index.index).hnsw.efSearch = ef
        found[ef] = texts(index.search(QUERIES, K)[1])
    with attached(tmp_path / "i.faiss", efSearch=10) as foreign:
        assert foreign.ask(QUERIES, K) == found[10] != found[300]
        assert foreign.ask(QUERIES, K, effort=300) == found[300]


def test_what_takes_no_parameters_is_searched_without(tmp_path: Path) -> None:
    for kind in ("HNSW16_16+PQ8", "Flat", "NSG16,Flat", "LSH"):
        index = made(kind)
        faiss.write_index(index, str(tmp_path / "i.faiss"))
        with attached(tmp_path / "i.faiss", nprobe=3, efSearch=40) as foreign:
            assert foreign.ask(QUERIES, K, effort=5) == texts(index.search(QUERIES, K)[1])


def binary(kind: str) -> Any:
    flat = faiss.IndexBinaryFlat(D)
    if kind == "ids":
        index = faiss.IndexBinaryIDMap2(flat)
        index.add_with_ids(BITS, IDS)
        return index
    index = {
        "flat": lambda: flat,
        "graph": lambda: faiss.IndexBinaryHNSW(D, 16),
        "lists": lambda: faiss.IndexBinaryIVF(flat, D, 16),
    }[kind]()
    index.train(BITS)
    index.add(BITS)
    return index


@pytest.mark.parametrize("kind", ["flat", "ids", "graph", "lists"])
def test_bits_are_asked_for_the_signs(tmp_path: Path, kind: str) -> None:
    index = binary(kind)
    faiss.write_index_binary(index, str(tmp_path / "bits.faiss"))
    signs = np.packbits(QUERIES > 0, axis=1)
    with attached(tmp_path / "bits.faiss") as foreign:
        assert (foreign.dim, foreign.metric, len(foreign)) == (D, None, N)
        assert foreign.ask(QUERIES, K) == texts(index.search(signs, K)[1])
    if kind == "lists":
        index.nprobe = 7
        with attached(tmp_path / "bits.faiss", nprobe=7, metric="ip") as foreign:
            assert foreign.metric == "ip"
            assert foreign.ask(QUERIES, K) == texts(index.search(signs, K)[1])


def test_normalised_vectors_are_asked_for_by_normalised_queries(tmp_path: Path) -> None:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    index = faiss.index_factory(D, "IVF16,Flat")
    index.train(unit)
    index.add(unit)
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    short = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    with attached(tmp_path / "i.faiss", metric="cosine") as foreign:
        assert foreign.metric == "cosine"
        assert foreign.ask(QUERIES * 9, K) == texts(index.search(short, K)[1])
        assert len(foreign.ask(np.zeros((1, D), np.float32), K)[0]) == K
    with pytest.raises(InputError, match="compares by l2, not by ip"):
        FaissBackend.attach(str(tmp_path / "i.faiss"), {"metric": "ip"})


def on_disk(folder: Path) -> tuple[Path, Any]:
    folder.mkdir()
    index = made("IVF16,Flat")
    faiss.write_index(index, str(folder / "part"))
    empty = faiss.clone_index(index)
    empty.reset()
    merge_ondisk(empty, [str(folder / "part")], str(folder / "lists.data"))
    (folder / "part").unlink()
    faiss.write_index(empty, str(folder / "i.faiss"))
    return folder / "i.faiss", index


def test_lists_in_a_file_are_read_from_beside_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, index = on_disk(tmp_path / "a")
    moved = path.parent.rename(tmp_path / "b") / path.name
    (tmp_path / "a").mkdir()
    capfd.readouterr()
    with attached(moved, nprobe=16) as foreign:
        index.nprobe = 16
        assert foreign.ask(QUERIES, K) == texts(index.search(QUERIES, K)[1])
    assert capfd.readouterr().out == ""
    lists = moved.parent / "lists.data"
    whole = lists.read_bytes()
    lists.write_bytes(whole[:-100])
    with pytest.raises(CorruptIndexError, match="it was cut"):
        FaissBackend.attach(str(moved), {})
    lists.rename(tmp_path / "a" / "lists.data")
    with pytest.raises(CorruptIndexError, match="not beside it"):
        FaissBackend.attach(str(moved), {})


@pytest.mark.parametrize("place", [0, 4, 8, 33, 40])
def test_a_damaged_header_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "i.faiss"
    faiss.write_index(made("IDMap,Flat"), str(path))
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises((CorruptIndexError, InputError)):
        FaissBackend.attach(str(path), {})


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    index = made("IVF16,SQ8,RFlat")
    index.d = 7  # FAISS itself reads it, and then past the end of every query
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    with pytest.raises(CorruptIndexError, match="its base has 2000 vectors of 32 dimensions"):
        FaissBackend.attach(str(tmp_path / "i.faiss"), {})


def test_another_metric_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexFlat(D, faiss.METRIC_L1)
    faiss.write_index(index, str(tmp_path / "l1"))
    with pytest.raises(InputError, match="none of inner product and L2"):
        FaissBackend.attach(str(tmp_path / "l1"), {})


def test_threads_share_lists(tmp_path: Path) -> None:
    index = made("IVF16,Flat")
    faiss.write_index(index, str(tmp_path / "i.faiss"))
    with attached(tmp_path / "i.faiss") as found, ThreadPoolExecutor(4) as pool:
        wanted = texts(index.search(QUERIES, K)[1])
        for answers in pool.map(lambda _: found.ask(QUERIES, K), range(40)):
            assert answers == wanted


def test_a_stamp_tells_of_lists_in_another_file(tmp_path: Path) -> None:
    path, _ = on_disk(tmp_path / "a")
    with attached(path) as found:
        stamp = found.stamp()
    lists = path.parent / "lists.data"
    data = bytearray(lists.read_bytes())
    data[7] ^= 1
    lists.write_bytes(data)
    with attached(path) as found:
        assert found.stamp() != stamp


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_cut_by_a_few_bytes_is_refused(tmp_path: Path, kind: str, mmap: bool) -> None:
    path = tmp_path / "i.faiss"
    faiss.write_index(made(kind), str(path))
    whole = path.read_bytes()
    for cut in (*range(1, 14), 40):
        path.write_bytes(whole[:-cut])
        with pytest.raises(CorruptIndexError):
            FaissBackend.attach(str(path), {"mmap": mmap})


@pytest.mark.parametrize("kind", ["IndexBinaryFlat", "IndexBinaryIVF", "IndexBinaryHNSW"])
def test_a_file_of_bits_cut_by_a_few_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    inner = {
        "IndexBinaryFlat": lambda: faiss.IndexBinaryFlat(D),
        "IndexBinaryIVF": lambda: faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(D), D, 4),
        "IndexBinaryHNSW": lambda: faiss.IndexBinaryHNSW(D, 8),
    }[kind]()
    if kind == "IndexBinaryIVF":
        inner.cp.min_points_per_centroid = 1
        inner.train(BITS)
    index = inner if kind == "IndexBinaryIVF" else faiss.IndexBinaryIDMap(inner)
    index.add_with_ids(BITS, IDS)
    path = tmp_path / "i.faiss"
    faiss.write_index_binary(index, str(path))
    with attached(path, metric="cosine") as found:
        assert len(found) == N
    whole = path.read_bytes()
    for cut in (*range(1, 14), 40):
        path.write_bytes(whole[:-cut])
        with pytest.raises(CorruptIndexError):
            FaissBackend.attach(str(path), {})
