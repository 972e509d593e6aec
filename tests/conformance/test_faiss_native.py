"""What only FAISS has: files for plain FAISS, tombstones, lists, the fast-scan layout."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.faiss import FaissBackend, fastscan
from requant.adapters.faiss import backend as faiss_backend
from requant.adapters.protocol import IndexSpec
from requant.quantizers.codes import CodeSpec, level_values
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside

FORMS = [
    (row.format, row.index_type, row.metrics[-1]) for row in FaissBackend.capabilities.supports
]


def spec_of(format, index_type="flat", metric="l2", dim=64, **params):
    return IndexSpec(code_spec(format, dim), metric, index_type, params)


def filled(spec, n=300):
    codes = make_codes(spec.code, n)
    backend = FaissBackend.create(spec, sample=codes)
    backend.upsert(make_keys(n), codes)
    return backend, Judge(spec, make_keys(n), codes)


def read_plainly(spec, path):
    binary = spec.code.format == "binary"
    return (faiss.read_index_binary if binary else faiss.read_index)(str(path))


@pytest.mark.parametrize(("format", "index_type", "metric"), FORMS)
def test_plain_faiss_opens_the_file_and_answers_with_our_keys(tmp_path, format, index_type, metric):
    spec = spec_of(format, index_type, metric)
    backend, _ = filled(spec)
    backend.flush(str(tmp_path / "index"))
    queries = make_queries(spec.code, 5)
    taken = queries if format == "binary" else queries.astype(np.float32)
    plain = read_plainly(spec, tmp_path / "index")
    if index_type == "ivf":
        lists = faiss.downcast_index(plain.index) if format == "native" else plain
        lists.nprobe = lists.nlist
    distances, keys = plain.search(taken, 4)
    found = backend.search(queries, 4, effort=1000)
    sign = -1 if metric == "ip" else 1
    np.testing.assert_allclose(sign * distances, found.distances, rtol=1e-5)
    np.testing.assert_array_equal(keys, found.keys)


@pytest.mark.parametrize(("format", "index_type", "metric"), FORMS)
def test_a_truncated_file_is_refused(tmp_path, format, index_type, metric):
    spec = spec_of(format, index_type, metric)
    backend, _ = filled(spec)
    path = tmp_path / "index"
    backend.flush(str(path))
    whole = path.read_bytes()
    for size in (0, 3, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptIndexError) as caught:
            FaissBackend.open(spec, str(path))
        assert isinstance(caught.value.__cause__, RuntimeError)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptIndexError):
        FaissBackend.open(spec, str(path), mmap=True)


@pytest.mark.parametrize(
    "other",
    [
        spec_of("int8", "flat", "ip"),
        spec_of("int8", "hnsw", "l2"),
        spec_of("int8", "ivf", "l2"),
        spec_of("uint8", "flat", "l2"),
        spec_of("float32", "flat", "l2"),
        spec_of("int4", "flat", "l2"),
        spec_of("binary", "flat", "hamming"),
    ],
    ids=lambda spec: f"{spec.code.format}-{spec.index_type}-{spec.metric}",
)
def test_a_file_of_another_kind_is_refused(tmp_path, other):
    backend, _ = filled(spec_of("int8", "flat", "l2"))
    backend.flush(str(tmp_path / "index"))
    with pytest.raises(CorruptIndexError):
        FaissBackend.open(other, str(tmp_path / "index"))


def test_a_file_with_other_levels_is_refused(tmp_path):
    backend, _ = filled(spec_of("int2"))
    backend.flush(str(tmp_path / "index"))
    other = IndexSpec(CodeSpec("int2", 64, (-1.5, -0.45, 0.45, 1.6)), "l2")
    with pytest.raises(CorruptIndexError, match="levels"):
        FaissBackend.open(other, str(tmp_path / "index"))


def test_a_file_without_keys_is_refused(tmp_path):
    plain = faiss.IndexFlatL2(64)
    plain.add(np.ones((3, 64), np.float32))
    faiss.write_index(plain, str(tmp_path / "index"))
    with pytest.raises(CorruptIndexError, match="ids"):
        FaissBackend.open(spec_of("float32"), str(tmp_path / "index"))


@pytest.mark.parametrize("format", ["int8", "binary"])
def test_a_mapped_index_moves_into_memory_on_the_first_write(tmp_path, format):
    spec = spec_of(format, metric="hamming" if format == "binary" else "l2")
    backend, judge = filled(spec)
    backend.flush(str(tmp_path / "index"))
    mapped = FaissBackend.open(spec, str(tmp_path / "index"), mmap=True)
    assert not memory_of(mapped).is_owned
    mapped.delete(judge.keys[:1])
    assert memory_of(mapped).is_owned
    Path(tmp_path / "index").unlink()
    Judge(spec, judge.keys[1:], judge.codes[1:]).holds(mapped)


def test_a_mapped_index_whose_file_was_replaced_is_copied(tmp_path):
    backend, judge = filled(spec_of("int8"))
    backend.flush(str(tmp_path / "index"))
    mapped = FaissBackend.open(judge.spec, str(tmp_path / "index"), mmap=True)
    other, _ = filled(spec_of("int8"), 40)
    other.flush(str(tmp_path / "other"))
    (tmp_path / "other").replace(tmp_path / "index")
    mapped.delete(judge.keys[:1])
    Judge(judge.spec, judge.keys[1:], judge.codes[1:]).holds(mapped)
    gone = FaissBackend.open(judge.spec, str(tmp_path / "index"), mmap=True)
    (tmp_path / "index").unlink()
    gone.delete(judge.keys[:1])
    assert len(gone) == 39


PEAK = """
import resource, sys
import numpy as np
from requant.adapters.faiss import FaissBackend
from requant.adapters.protocol import IndexSpec
from requant.testing.data import code_spec
index = FaissBackend.open(IndexSpec(code_spec("int8", 1024), "l2"), sys.argv[1], mmap=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index.delete(np.array([7]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_the_first_write_to_a_mapped_index_takes_its_room_once(tmp_path):
    spec = spec_of("int8", dim=1024)
    backend = FaissBackend.create(spec)
    for start in range(0, 80_000, 20_000):
        backend.upsert(np.arange(start, start + 20_000), np.zeros((20_000, 1024), np.int8))
    backend.flush(str(tmp_path / "index"))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "index")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    data = (tmp_path / "index").stat().st_size / 1024
    assert float(done.stdout) < 1.5 * data


@pytest.mark.parametrize("format", ["int2", "native"])
@pytest.mark.parametrize("index_type", ["flat", "ivf"])
def test_a_map_that_cannot_be_is_told(tmp_path, format, index_type):
    backend, judge = filled(spec_of(format, index_type))
    backend.flush(str(tmp_path / "index"))
    with pytest.warns(UserWarning, match=f"{format}/{index_type} index in blocks, which cannot"):
        read = FaissBackend.open(judge.spec, str(tmp_path / "index"), mmap=True)
    assert len(read) == 300


@pytest.mark.parametrize("other", ["SQfp16", "SQ8_direct", "PQ64x8", "SQ4", "HNSW8,SQ8"])
def test_a_file_of_another_factory_is_refused(tmp_path, other):
    backend, _ = filled(spec_of("native", factory="SQ8"))
    backend.flush(str(tmp_path / "index"))
    index_type = "hnsw" if "HNSW" in other else "flat"
    with pytest.raises(CorruptIndexError):
        FaissBackend.open(spec_of("native", index_type, factory=other), str(tmp_path / "index"))


def memory_of(backend):
    inner = inside.structure_of(backend).inner
    return inner.xb if isinstance(inner, faiss.IndexBinary) else inner.codes


def test_dead_nodes_are_buried_until_a_fifth_is_dead(tmp_path):
    spec = spec_of("int8", "hnsw")
    backend, judge = filled(spec)
    backend.delete(judge.keys[:60])
    assert inside.structure_of(backend).dead == 60
    backend.flush(str(tmp_path / "index"))
    plain = faiss.read_index(str(tmp_path / "index"))
    assert (faiss.vector_to_array(plain.id_map) == -1).sum() == 60
    backend = FaissBackend.open(spec, str(tmp_path / "index"))
    assert inside.structure_of(backend).dead == 60
    backend.upsert(judge.keys[60:61], judge.codes[:1])
    assert inside.structure_of(backend).dead == 0
    assert inside.structure_of(backend).inner.ntotal == 240
    judge = Judge(spec, judge.keys[60:], np.r_[judge.codes[:1], judge.codes[61:]])
    judge.holds(backend)
    queries = make_queries(spec.code, 10)
    assert judge.rules(backend.search(queries, 20), queries, 20) > 0.9


@pytest.mark.parametrize("format", ["int8", "binary", "native"])
def test_a_graph_is_made_anew_while_others_search_and_write(monkeypatch, format):
    """Whoever searches or writes meanwhile does not wait, and nothing of it is lost."""
    spec = spec_of(format, "hnsw", "hamming" if format == "binary" else "l2")
    codes, keys = make_codes(spec.code, 3000), make_keys(3000)
    backend = FaissBackend.create(spec, sample=codes)
    backend.upsert(keys[:1000], codes[:1000])
    queries, done, build = make_queries(spec.code, 5), [], faiss_backend.successor_of

    def meanwhile():
        judge = Judge(spec, keys[300:1000], codes[300:1000])
        assert judge.rules(backend.search(queries, 20), queries, 20) > 0.5
        backend.upsert(keys[1000:], codes[1000:])
        backend.upsert(keys[900:1000], codes[:100])
        assert backend.delete(keys[300:350]) == 50
        done.append(len(backend))

    def building(*arguments):
        successor = build(*arguments)
        if not done:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(meanwhile).result(60)
        return successor

    monkeypatch.setattr(faiss_backend, "successor_of", building)
    backend.delete(keys[:300])
    assert done == [2650]
    held = np.r_[codes[350:900], codes[:100], codes[1000:]]
    judge = Judge(spec, keys[350:], held)
    judge.holds(backend)
    assert judge.rules(backend.search(queries, 20), queries, 20) > 0.5
    assert inside.structure_of(backend).dead == 150
    assert backend.delete(keys[350:]) == 2650
    assert len(backend) == inside.structure_of(backend).inner.ntotal == 0


def test_an_export_ends_where_a_graph_is_made_anew(monkeypatch):
    backend, judge = filled(spec_of("int8", "hnsw"))
    build, exports = faiss_backend.successor_of, []

    def building(*arguments):
        export = backend.export(50)
        exports.append((export, next(export)))
        return build(*arguments)

    monkeypatch.setattr(faiss_backend, "successor_of", building)
    backend.delete(judge.keys[:100])
    with pytest.raises(EngineError, match="written to"):
        list(exports[0][0])


def test_a_write_is_accepted_although_the_index_is_closed_meanwhile(monkeypatch):
    backend, judge = filled(spec_of("int8", "hnsw"))
    build = faiss_backend.successor_of

    def building(*arguments):
        successor = build(*arguments)
        backend.close()
        return successor

    monkeypatch.setattr(faiss_backend, "successor_of", building)
    assert backend.delete(judge.keys[:100]) == 100


@pytest.mark.parametrize("format", ["float32", "binary"])
def test_the_living_are_found_behind_the_dead(format):
    """All of the nearest nodes of a query are dead: k live answers come back all the same."""
    spec = spec_of(format, "hnsw", "hamming" if format == "binary" else "l2", efSearch=8)
    backend, judge = filled(spec, 1000)
    query = make_queries(spec.code, 1)
    nearest = backend.search(query, 190, effort=1000).keys[0]
    assert backend.delete(nearest) == 190
    assert inside.structure_of(backend).dead == 190
    left = ~np.isin(judge.keys, nearest)
    judge = Judge(spec, judge.keys[left], judge.codes[left])
    for k in (1, 10, 810, 2000):
        judge.rules(backend.search(query, k), query, k)


def test_lists_need_a_sample():
    spec = spec_of("int8", "ivf")
    for sample in (None, make_codes(spec.code, 0)):
        with pytest.raises(InputError, match="sample"):
            FaissBackend.create(spec, sample=sample)
    assert nlist_of(spec_of("int8", "ivf", nlist=50), 49) == 49  # no more than it can learn


def test_lists_are_as_many_as_the_sample_can_train():
    spec = spec_of("int8", "ivf")
    assert nlist_of(spec, 20) == 1
    assert nlist_of(spec, 390) == 10
    many = IndexSpec(spec.code, "l2", "ivf", expected=100)
    assert nlist_of(many, 6000) == 153
    assert nlist_of(spec_of("int8", "ivf", nlist=7), 390) == 7


def nlist_of(spec, n):
    return inside.structure_of(
        FaissBackend.create(spec, sample=make_codes(spec.code, n))
    ).inner.nlist


@pytest.mark.parametrize(
    ("format", "metric"), [("float32", "ip"), ("int2", "l2"), ("binary", "hamming")]
)
def test_training_is_silent(capfd, format, metric):
    filled(spec_of(format, "ivf", metric, nlist=30), 40)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [0, -3, 1.5, "8", True, None])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match="M "):
        FaissBackend.create(spec_of("int8", "hnsw", M=bad))


def test_an_export_notices_a_write():
    backend, judge = filled(spec_of("int8"))
    export = backend.export(batch=100)
    next(export)
    backend.delete(judge.keys[:1])
    with pytest.raises(EngineError, match="written"):
        next(export)


def test_an_int2_file_holds_little_more_than_codes_and_keys(tmp_path):
    spec = spec_of("int2", dim=384)
    backend, _ = filled(spec, 3000)
    backend.flush(str(tmp_path / "index"))
    centroids = 192 * 16 * 2 * 4
    size = Path(tmp_path / "index").stat().st_size
    assert size - centroids < 3000 * (96 + 8) + 64 * 96 + 1000


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("nibbles", [1, 3, 8])
def test_our_layout_is_that_of_faiss(block, nibbles):
    rng = np.random.default_rng(0)
    row_bytes, n = -(-nibbles // 2), 150
    index = faiss.IndexPQFastScan(nibbles, nibbles, 4, faiss.METRIC_L2, block)
    centroids = np.tile(np.arange(16, dtype=np.float32), nibbles)
    faiss.copy_array_to_vector(centroids, index.pq.centroids)
    index.is_trained = True
    values = rng.integers(0, 16, (n, nibbles))
    index.add(values.astype(np.float32))
    raw = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
    blocks = fastscan.blocks_of(raw, block, row_bytes)

    padded = np.zeros((n, row_bytes * 2), np.uint8)
    padded[:, :nibbles] = values
    codes = padded[:, ::2] | padded[:, 1::2] << 4
    np.testing.assert_array_equal(fastscan.gather(blocks, np.arange(n)), codes)
    ours = np.zeros_like(blocks)
    order = rng.permutation(n)
    fastscan.scatter(ours, order, codes[order])
    np.testing.assert_array_equal(ours, blocks)


@pytest.mark.parametrize("index_type", ["flat", "ivf"])
def test_plain_faiss_may_add_after_our_deletes(tmp_path, index_type):
    """FAISS mixes new nibbles into whatever stands behind the last row: nothing may."""
    spec = spec_of("int2", index_type)
    backend, judge = filled(spec)
    backend.delete(judge.keys[200:])
    backend.flush(str(tmp_path / "index"))
    plain = faiss.read_index(str(tmp_path / "index"))
    plain.add_with_ids(level_values(judge.codes[200:], spec.code), judge.keys[200:])
    faiss.write_index(plain, str(tmp_path / "index"))
    judge.holds(FaissBackend.open(spec, str(tmp_path / "index")))


def test_several_threads_answer_a_batch_as_one_does():
    backend, judge = filled(spec_of("int8"), 2000)
    queries = make_queries(judge.spec.code, 64)
    one = backend.search(queries, 10)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        several = backend.search(queries, 10)
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(several.distances, one.distances)
    judge.is_exact(several, queries, 10)


def test_nothing_stands_behind_the_last_row():
    """FAISS hands out memory as it finds it, full of what other indexes left there."""
    spec = spec_of("int2", dim=512)
    full = np.full((400, 128), 255, np.uint8)
    for n in range(1, 20):
        used = FaissBackend.create(spec)
        used.upsert(make_keys(400), full)
        used.close()
        backend = FaissBackend.create(spec)
        backend.upsert(make_keys(n), full[:n])
        codes = inside.structure_of(backend).inner.codes
        raw = faiss.rev_swig_ptr(codes.get(), codes.size())
        everything = fastscan.gather(fastscan.blocks_of(raw, 64, 128), np.arange(64))
        assert (everything[:n] == 255).all()
        assert not everything[n:].any()


def test_all_lists_are_read_when_the_nearest_hold_too_little():
    spec = spec_of("int8", "ivf", nlist=20, nprobe=1)
    backend, judge = filled(spec)
    queries = make_queries(spec.code, 6)
    assert judge.rules(backend.search(queries, 300), queries, 300) == 1.0
    few = judge.keys[::60]
    assert judge.rules(backend.search(queries, 5, among=few), queries, 5, few) == 1.0
