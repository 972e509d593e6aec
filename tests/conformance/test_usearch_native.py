"""What only usearch has: files for plain usearch and NumPy, threads, headers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from usearch.index import Index
from usearch.index import search as exact_search

from requant.adapters.errors import CorruptIndexError
from requant.adapters.protocol import IndexSpec
from requant.adapters.usearch import UsearchBackend, flat
from requant.adapters.usearch.arguments import threads
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge


def spec_of(format, index_type="hnsw", metric="l2", dim=64, **params):
    return IndexSpec(code_spec(format, dim), metric, index_type, params)


def filled(spec, n=300):
    backend = UsearchBackend.create(spec)
    backend.upsert(make_keys(n), make_codes(spec.code, n))
    return backend, Judge(spec, make_keys(n), make_codes(spec.code, n))


def test_plain_usearch_opens_a_graph(tmp_path):
    spec = spec_of("int8")
    backend, _ = filled(spec)
    backend.flush(str(tmp_path / "index"))
    plain = Index.restore(str(tmp_path / "index"))
    queries = make_queries(spec.code, 3)
    matches = plain.search(queries, 5, dtype="i8")
    np.testing.assert_array_equal(matches.distances, backend.search(queries, 5).distances)


def test_a_flat_file_is_numpy_arrays(tmp_path):
    backend, judge = filled(spec_of("int8", "flat"))
    backend.flush(str(tmp_path / "index"))
    with (tmp_path / "index").open("rb") as file:
        np.testing.assert_array_equal(np.load(file), judge.keys)
        np.testing.assert_array_equal(np.load(file), judge.codes)
        end = file.tell()
        assert str(np.load(file)) == "int8 compared by l2"
        assert not file.read()
    # Earlier versions ended here.
    os.truncate(tmp_path / "index", end)
    old = UsearchBackend.open(judge.spec, str(tmp_path / "index"))
    judge.holds(old)
    old.close()


@pytest.mark.parametrize("index_type", ["flat", "hnsw"])
@pytest.mark.parametrize("mmap", [False, True])
def test_a_truncated_file_is_refused(tmp_path, index_type, mmap):
    spec = spec_of("int8", index_type)
    backend, _ = filled(spec)
    path = tmp_path / "index"
    backend.flush(str(path))
    whole = path.read_bytes()
    sizes = (0, 3, 50) if index_type == "hnsw" and mmap else (0, 3, 50, 2500, len(whole) - 1)
    for size in sizes:
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptIndexError):
            UsearchBackend.open(spec, str(path), mmap=mmap)


def test_a_flat_file_with_bytes_to_spare_is_refused(tmp_path):
    spec = spec_of("int8", "flat")
    backend, _ = filled(spec)
    backend.flush(str(tmp_path / "index"))
    with (tmp_path / "index").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptIndexError, match="bytes"):
        UsearchBackend.open(spec, str(tmp_path / "index"))


@pytest.mark.parametrize(
    "other",
    [spec_of("int8", metric="ip"), spec_of("uint8"), spec_of("float16"), spec_of("int8", "flat")],
    ids=lambda spec: f"{spec.code.format}-{spec.index_type}-{spec.metric}",
)
def test_a_graph_of_another_kind_is_refused(tmp_path, other):
    backend, _ = filled(spec_of("int8"))
    backend.flush(str(tmp_path / "index"))
    with pytest.raises(CorruptIndexError):
        UsearchBackend.open(other, str(tmp_path / "index"))


def test_threads_follow_the_parameter_then_the_environment(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads(spec_of("int8")) == 0
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads(spec_of("int8")) == 1
    assert threads(spec_of("int8", threads=3)) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert threads(spec_of("int8")) == 4


@pytest.mark.parametrize("code", ["int8 ip", "uint8 l2", "float32 ip"])
def test_a_single_query_takes_one_thread_and_the_lock_once(monkeypatch, code):
    """Threads that search side by side neither start others nor wait for one another's codes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    format, metric = code.split()
    spec, n = spec_of(format, "flat", metric), 20_000
    keys, codes = make_keys(n), make_codes(code_spec(format, 64), n)
    backend = UsearchBackend.create(spec)
    backend.upsert(keys, codes)
    asked = []

    def seen(stored, queries, *args, threads, **rest):
        asked.append((len(stored), threads))
        return exact_search(stored, queries, *args, threads=threads, **rest)

    monkeypatch.setattr(flat, "exact_search", seen)
    judge, queries = Judge(spec, keys, codes), make_queries(spec.code, 3)
    judge.is_exact(backend.search(queries[:1], 10), queries[:1], 10)
    assert set(asked) == {(1, 1)}  # it is the codes that ask
    judge.is_exact(backend.search(queries[:1], 10, among=keys[::5]), queries[:1], 10, keys[::5])
    judge.is_exact(backend.search(queries[:1], 1), queries[:1], 1)
    judge.is_exact(backend.search(queries, 10), queries, 10)


def test_of_bits_that_tie_a_query_alone_gets_the_same_as_in_a_batch():
    spec = spec_of("binary", "flat", "hamming")
    backend = UsearchBackend.create(spec)
    backend.upsert(make_keys(2000), make_codes(code_spec("binary", 64), 2000))
    queries = make_queries(spec.code, 20)
    batch = backend.search(queries, 10)
    for row in range(len(queries)):
        alone = backend.search(queries[row : row + 1], 10)
        np.testing.assert_array_equal(alone.keys[0], batch.keys[row])


@pytest.mark.parametrize("bad", [0, 1, 2.5, "16"])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(InputError, match="connectivity"):
        UsearchBackend.create(spec_of("int8", connectivity=bad))


def test_effort_is_for_one_search_only():
    backend, judge = filled(spec_of("float32", expansion_search=1), 2000)
    queries = make_queries(judge.spec.code, 30)
    low = judge.rules(backend.search(queries, 1), queries, 1)
    high = judge.rules(backend.search(queries, 1, effort=2000), queries, 1)
    again = judge.rules(backend.search(queries, 1), queries, 1)
    assert low == again < high


@pytest.mark.parametrize("format", ["int8", "binary"])
def test_a_poor_graph_is_completed_by_an_exact_search(format):
    """With two links a node, and clumps of equal codes, a walk reaches only a part."""
    params = {"connectivity": 2, "expansion_add": 1, "expansion_search": 1, "threads": 1}
    spec = spec_of(format, metric="hamming" if format == "binary" else "l2", **params)
    codes = np.repeat(make_codes(spec.code, 100), 4, axis=0)
    backend = UsearchBackend.create(spec)
    backend.upsert(make_keys(400), codes)
    judge, queries = Judge(spec, make_keys(400), codes), make_queries(spec.code, 3)
    judge.is_exact(backend.search(queries, 400), queries, 400)
    judge.is_exact(backend.search(queries[:1], 400), queries[:1], 400)


_INTERRUPTED = """
import os, signal, threading
from requant.adapters.usearch import UsearchBackend
from requant.testing.data import make_codes, make_keys
from tests.conformance.test_usearch_native import spec_of

spec = spec_of("int8")
backend = UsearchBackend.create(spec)
keys, codes = make_keys(20_000), make_codes(spec.code, 20_000)
threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    while True:
        backend.upsert(keys, codes)
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_in_the_midst_of_it_is_no_error_of_the_engine():
    """usearch looks for signals itself, and loses what their handler raises."""
    root = Path(__file__).parent.parent.parent
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout == "stopped\n", done.stderr[-500:]
