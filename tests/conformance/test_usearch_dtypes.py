"""precision="native" on usearch: float vectors in a smaller number format."""

from __future__ import annotations

import numpy as np
import pytest
from usearch.index import Index

from requant.adapters.errors import CorruptIndexError
from requant.adapters.protocol import IndexSpec
from requant.adapters.usearch import UsearchBackend
from requant.adapters.usearch.kinds import float_kinds
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge


def spec_of(dtype=None, index_type="flat", metric="l2"):
    params = {} if dtype is None else {"dtype": dtype}
    return IndexSpec(code_spec("native", 64), metric, index_type, params)


def filled(spec, n=400):
    backend = UsearchBackend.create(spec)
    backend.upsert(make_keys(n), make_codes(spec.code, n))
    return backend, Judge(spec, make_keys(n), make_codes(spec.code, n))


def test_the_formats_are_those_of_the_installed_usearch():
    assert {"f32", "bf16", "f16", "e5m2"} <= set(float_kinds())
    assert not {"i8", "u8", "b1", "unknown"} & set(float_kinds())


@pytest.mark.parametrize("index_type", ["flat", "hnsw"])
@pytest.mark.parametrize("dtype", float_kinds())
def test_every_format_finds_and_gives_back(tmp_path, dtype, index_type):
    for metric in ("ip", "l2"):
        backend, judge = filled(spec_of(dtype, index_type, metric))
        queries = make_queries(judge.spec.code, 20)
        assert judge.rules(backend.search(queries, 10), queries, 10) > 0.9
        judge.holds(backend)
    backend.flush(str(tmp_path / "index"))
    plain = Index.restore(str(tmp_path / "index"))
    assert plain.dtype == float_kinds()[dtype]
    found = plain.search(queries, 10, exact=True, dtype="f32")
    np.testing.assert_array_equal(found.keys[:, 0], backend.search(queries, 10).keys[:, 0])


def test_bf16_is_the_default_and_takes_two_bytes(tmp_path):
    backend, _ = filled(spec_of(), 3000)
    assert backend.native().dtype == float_kinds()["bf16"]
    backend.flush(str(tmp_path / "index"))
    assert (tmp_path / "index").stat().st_size < 3000 * (64 * 2 + 50)


@pytest.mark.parametrize("dtype", list(float_kinds()))
def test_a_number_too_large_stays_finite(dtype):
    backend, judge = filled(spec_of(dtype), 20)
    huge = np.full((1, 64), 1e6, np.float32)
    backend.upsert(judge.keys[:1], huge)
    found = backend.search(np.concatenate([huge, -huge]), 20)
    assert np.isfinite(found.distances).all()
    assert found.keys[0, 0] == found.keys[1, -1] == judge.keys[0]


@pytest.mark.parametrize("bad", ["i8", "b1", "nonsense", "", 16, None])
def test_a_dtype_that_is_none_is_refused_with_what_there_is(bad):
    for index_type in ("flat", "hnsw"):
        spec = IndexSpec(code_spec("native", 64), "l2", index_type, {"dtype": bad})
        with pytest.raises(InputError, match=r"choose one of .*bf16"):
            UsearchBackend.create(spec)


@pytest.mark.parametrize("index_type", ["flat", "hnsw"])
def test_a_dtype_is_for_native_codes(index_type):
    spec = IndexSpec(code_spec("int8", 64), "l2", index_type, {"dtype": "f16"})
    with pytest.raises(InputError, match="native"):
        UsearchBackend.create(spec)


@pytest.mark.parametrize(
    "other",
    [spec_of("f16"), spec_of(metric="ip"), spec_of(index_type="hnsw")],
    ids=["dtype", "metric", "graph"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, other):
    backend, _ = filled(spec_of())
    backend.flush(str(tmp_path / "index"))
    with pytest.raises(CorruptIndexError):
        UsearchBackend.open(other, str(tmp_path / "index"))


@pytest.mark.parametrize("mmap", [False, True])
def test_a_truncated_file_is_refused(tmp_path, mmap):
    backend, _ = filled(spec_of())
    path = tmp_path / "index"
    backend.flush(str(path))
    whole = path.read_bytes()
    for size in (0, 3, 50) if mmap else (0, 3, 50, 2500, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptIndexError):
            UsearchBackend.open(spec_of(), str(path), mmap=mmap)
