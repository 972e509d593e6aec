"""LanceDB tables stay small and fast, are durable, and notice what has been lost."""

import os

import numpy as np
import pytest

from requant.adapters.errors import CorruptIndexError, EngineError, ForkedError
from requant.adapters.lancedb import LancedbBackend
from requant.adapters.protocol import IndexSpec
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside


def spec_of(format="int8", index_type="flat", metric="l2", **params):
    return IndexSpec(code_spec(format, 16), metric, index_type, {"index_from": 256} | params)


def created(tmp_path, spec):
    return LancedbBackend.create(spec, str(tmp_path / "index"))


def files(tmp_path, pattern):
    return sorted((tmp_path / "index" / "codes.lance").glob(pattern))


def parts(backend):
    table = inside.table_of(backend)
    return table.call(table.inner.index_stats("code_idx")).num_indices


def test_two_hundred_small_writes_leave_few_fragments(tmp_path):
    spec = spec_of()
    backend, codes, keys = created(tmp_path, spec), make_codes(spec.code, 200), make_keys(200)
    for row in range(200):
        backend.upsert(keys[row : row + 1], codes[row : row + 1])
    table = inside.table_of(backend)
    stats = table.call(table.inner.stats())["fragment_stats"]
    assert stats["num_fragments"] <= 64
    backend.flush()
    assert table.call(table.inner.stats())["fragment_stats"]["num_fragments"] <= 32
    Judge(spec, keys, codes).holds(backend)


def test_old_versions_are_cleaned_up(tmp_path):
    spec = spec_of(keep_versions=1)
    backend, codes = created(tmp_path, spec), make_codes(spec.code, 10)
    for _ in range(3):
        for _ in range(70):
            backend.upsert(np.arange(10), codes)
        os.utime(tmp_path)
    assert len(files(tmp_path, "_versions/*.manifest")) < 200
    assert len(files(tmp_path, "data/*.lance")) < 200
    Judge(spec, np.arange(10), codes).holds(backend)


def test_many_small_writes_leave_few_files_however_young(tmp_path):
    spec = spec_of(most_versions=20)
    backend, codes = created(tmp_path, spec), make_codes(spec.code, 300)
    for row in range(300):
        backend.upsert(np.array([row]), codes[row : row + 1])
    assert len(files(tmp_path, "_versions/*.manifest")) < 100
    assert len([path for path in files(tmp_path, "**/*") if path.is_file()]) < 350
    backend.flush()
    Judge(spec, np.arange(300), codes).holds(backend)


def test_an_export_keeps_the_version_that_it_reads(tmp_path):
    spec = spec_of(most_versions=1)
    backend, codes = created(tmp_path, spec), make_codes(spec.code, 3000)
    backend.upsert(np.arange(3000), codes)
    export = backend.export(batch=10)
    chunks = [next(export)]
    for row in range(130):
        backend.upsert(np.array([row]), codes[-1:])
    chunks += list(export)
    np.testing.assert_array_equal(np.concatenate([part for _, part in chunks]), codes)
    for row in range(130):
        backend.upsert(np.array([row]), codes[row : row + 1])
    assert len(files(tmp_path, "_versions/*.manifest")) < 80
    Judge(spec, np.arange(3000), codes).holds(backend)


def test_large_versions_go_sooner(tmp_path, monkeypatch):
    monkeypatch.setattr(inside.LANCEDB_ROOM, 1 << 16)
    spec = spec_of(most_versions=1000)
    backend, codes = created(tmp_path, spec), make_codes(spec.code, 1000)
    for _ in range(70):
        backend.upsert(np.arange(1000), codes)
    assert len(files(tmp_path, "_versions/*.manifest")) < 20
    Judge(spec, np.arange(1000), codes).holds(backend)


@pytest.mark.parametrize("index_type", ["flat", "hnsw", "ivf"])
def test_an_index_grows_in_parts_and_is_built_anew(tmp_path, index_type):
    spec = spec_of(index_type=index_type)
    backend = created(tmp_path, spec)
    keys, codes = make_keys(6000), make_codes(spec.code, 6000)
    most = 0
    for part in np.array_split(np.arange(6000), 20):
        backend.upsert(keys[part], codes[part])
        backend.flush()
        most = max(most, parts(backend))
    assert 1 < most < 15
    queries, judge = make_queries(spec.code, 20), Judge(spec, keys, codes)
    assert judge.rules(backend.search(queries, 10), queries, 10) >= 0.9
    backend.delete(keys[:5900])
    backend.flush()
    rest = Judge(spec, keys[5900:], codes[5900:])
    rest.holds(backend)
    assert rest.rules(backend.search(queries, 100), queries, 100) == 1.0


def test_rows_beside_the_index_are_found(tmp_path):
    spec = spec_of("float32")
    backend, keys, codes = created(tmp_path, spec), make_keys(900), make_codes(spec.code, 900)
    backend.upsert(keys[:600], codes[:600])
    backend.flush()
    backend.upsert(keys[500:], codes[500:])
    queries, judge = make_queries(spec.code, 20), Judge(spec, keys, codes)
    judge.is_exact(backend.search(queries, 50), queries, 50)
    judge.is_exact(backend.search(queries, 50, among=keys[450:800]), queries, 50, keys[450:800])


def test_a_lost_manifest_is_noticed(tmp_path):
    spec = spec_of()
    backend = created(tmp_path, spec)
    backend.upsert(make_keys(20), make_codes(spec.code, 20))
    backend.flush()
    backend.close()
    # LanceDB numbers versions downwards, so that the newest comes first.
    files(tmp_path, "_versions/*.manifest")[0].unlink()
    with pytest.raises(CorruptIndexError, match="newest versions"):
        LancedbBackend.open(spec, str(tmp_path / "index"))


def test_a_lost_data_file_is_damage(tmp_path):
    spec = spec_of()
    backend = created(tmp_path, spec)
    backend.upsert(make_keys(20), make_codes(spec.code, 20))
    backend.flush()
    backend.close()
    for path in files(tmp_path, "data/*.lance"):
        path.unlink()
    backend = LancedbBackend.open(spec, str(tmp_path / "index"))
    with pytest.raises(CorruptIndexError, match="index"):
        backend.search(make_queries(spec.code, 1), 3)


def test_a_folder_without_permission_is_an_engine_error(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(EngineError, match="permission"):
        created(tmp_path, spec_of())
    tmp_path.chmod(0o700)


def test_a_damaged_folder_can_be_dropped_and_overwritten(tmp_path):
    spec, where = spec_of(), tmp_path / "index"
    created(tmp_path, spec).close()
    for path in files(tmp_path, "_versions/*"):
        path.write_bytes(b"damage")
    with pytest.raises((CorruptIndexError, EngineError)):
        LancedbBackend.open(spec, str(where))
    LancedbBackend.create(spec, str(where), overwrite=True).close()
    for path in files(tmp_path, "_versions/*"):
        path.unlink()
    LancedbBackend.drop(spec, str(where))
    assert not where.exists()


def test_an_export_is_one_version_whatever_is_written(tmp_path):
    spec = spec_of()
    backend, keys, codes = created(tmp_path, spec), make_keys(500), make_codes(spec.code, 500)
    backend.upsert(keys, codes)
    export = backend.export(batch=50)
    chunks = [next(export)]
    backend.upsert(keys[:100], make_codes(spec.code, 100, seed=3))
    backend.delete(keys[400:])
    chunks += list(export)
    found = np.concatenate([part for part, _ in chunks])
    np.testing.assert_array_equal(np.sort(found), keys)
    together = np.concatenate([part for _, part in chunks])[np.argsort(found)]
    np.testing.assert_array_equal(together, codes)


def test_a_forked_child_is_told(tmp_path, monkeypatch):
    backend = created(tmp_path, spec_of())
    with monkeypatch.context() as patch:
        inside.as_if_forked(inside.guard_of(backend), patch)
        with pytest.raises(ForkedError):
            len(backend)
    assert len(backend) == 0
