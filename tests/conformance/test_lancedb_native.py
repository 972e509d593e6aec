"""What only LanceDB has: its tables, its indexes by name, and folders that are not ours."""

import errno
import os
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.lancedb import LancedbBackend
from requant.adapters.lancedb import search as search_module
from requant.adapters.lancedb.place import place_of
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError, UnsupportedError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside


def spec_of(format, index_type="flat", metric="l2", dim=64, **params):
    params = {"index_from": 256} | params
    return IndexSpec(code_spec(format, dim), metric, index_type, params)


def filled(spec, where, n=600):
    backend = LancedbBackend.create(spec, str(where))
    judge = Judge(spec, make_keys(n), make_codes(spec.code, n))
    backend.upsert(judge.keys, judge.codes)
    backend.flush()
    return backend, judge


def index_of(where):
    indices = lancedb.connect(where).open_table("codes").list_indices()
    return {index.columns[0]: index.index_type for index in indices}


def test_plain_lancedb_opens_and_searches_the_table(tmp_path):
    spec = spec_of("int8", metric="ip")
    backend, judge = filled(spec, tmp_path / "index")
    assert lancedb.connect(tmp_path / "index").list_tables().tables == ["codes"]
    plain = lancedb.connect(tmp_path / "index").open_table("codes")
    assert plain.schema.names == ["key", "code"]
    assert plain.schema.field("code").type == pa.list_(pa.float16(), 64)
    np.testing.assert_array_equal(np.sort(plain.to_arrow()["key"].to_numpy()), judge.keys)
    query = make_queries(spec.code, 1)
    found = backend.search(query, 5)
    plainly = plain.search(query[0].astype(np.float16), vector_column_name="code")
    rows = plainly.distance_type("dot").limit(5).to_arrow()
    np.testing.assert_array_equal(rows["key"].to_numpy(), found.keys[0])


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("IvfSq", spec_of("int8")),
        ("IvfFlat", spec_of("int8", index="IVF_FLAT")),
        (None, spec_of("int8", index="none")),
        ("IvfFlat", spec_of("float32")),
        ("IvfFlat", spec_of("binary", metric="hamming")),
        ("IvfHnswSq", spec_of("int8", "hnsw")),
        ("IvfHnswFlat", spec_of("float16", "hnsw")),
        ("IvfSq", spec_of("uint8", "ivf")),
        ("IvfRq", spec_of("native")),
        ("IvfSq", spec_of("native", dim=63)),
        ("IvfPq", spec_of("native", index="IVF_PQ")),
        ("IvfSq", spec_of("native", index="IvfSq")),
        ("IvfHnswSq", spec_of("native", "hnsw")),
        ("IvfRq", spec_of("native", "ivf", index="IVF_RQ", index_options={"num_bits": 4})),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_index_is_lancedbs_own(tmp_path, name, spec):
    backend, judge = filled(spec, tmp_path / "index")
    assert index_of(tmp_path / "index").get("code") == name
    queries = make_queries(spec.code, 20)
    assert judge.rules(backend.search(queries, 10), queries, 10) > 0.3
    judge.holds(backend)
    backend.close()


@pytest.mark.parametrize("params", [{"index": "IVF_FLAT"}, {"index": "none"}], ids=str)
def test_int8_is_exact_if_asked(tmp_path, params):
    spec = spec_of("int8", metric="ip", dim=384, **params)
    backend, judge = filled(spec, tmp_path / "index", 3000)
    queries = make_queries(spec.code, 20)
    judge.is_exact(backend.search(queries, 30), queries, 30)


def test_small_tables_have_no_index(tmp_path):
    spec = IndexSpec(code_spec("int8", 64), "l2")
    filled(spec, tmp_path / "index")
    assert index_of(tmp_path / "index") == {}


@pytest.mark.parametrize("most", [0, 2000])
def test_a_large_key_set_is_filtered_or_asked_for_in_parts(tmp_path, monkeypatch, most):
    monkeypatch.setattr(inside.LANCEDB_LONGEST_LIST, 50)
    monkeypatch.setattr(inside.LANCEDB_MOST_MORE, most)
    for spec in (spec_of("float32", "ivf"), spec_of("binary", metric="hamming")):
        backend, judge = filled(spec, tmp_path / spec.code.format)
        queries = make_queries(spec.code, 70)
        for among in (judge.keys[::3], judge.keys[:60], np.arange(2**60, 2**60 + 70)):
            found = backend.search(queries, 80, among=among)
            assert judge.rules(found, queries, 80, among) == 1.0
        if spec.metric == "hamming":
            continue
        found = backend.search(queries[:1], 1, among=judge.keys[300:400], codes=True)
        at = np.searchsorted(judge.keys, found.keys[0, 0])
        np.testing.assert_array_equal(found.codes[0, 0], judge.codes[at])


def test_no_search_asks_for_the_whole_table(tmp_path, monkeypatch):
    """Where the allowed keys are far from the query, they are asked for by name."""
    monkeypatch.setattr(inside.LANCEDB_LONGEST_LIST, 100)
    monkeypatch.setattr(inside.LANCEDB_MOST_MORE, 150)
    asked, ask = [], search_module.replace
    spec = spec_of("float32")
    backend, judge = filled(spec, tmp_path, 1000)
    queries = make_queries(spec.code, 3)
    distances = np.linalg.norm(judge.codes - queries[0], axis=1)
    far = judge.keys[np.sort(np.argsort(distances)[-250:])]

    def noting(wish, **changed):
        asked.append(changed.get("k", wish.k))
        return ask(wish, **changed)

    monkeypatch.setattr(search_module, "replace", noting)
    found = backend.search(queries, 9, among=far, codes=True)
    judge.is_exact(found, queries, 9, far)
    np.testing.assert_array_equal(found.codes, judge.codes[np.searchsorted(judge.keys, found.keys)])
    assert max(asked) <= 150


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"index": "IVF_ANYTHING"}, UnsupportedError, "IVF_RQ, IVF_SQ"),
        ({"index": "BTree"}, UnsupportedError, "IVF_RQ"),
        ({"index": "HnswSq"}, UnsupportedError, "IVF_RQ"),
        ({"index": 3}, InputError, "name"),
        ({"index_options": {"nonsense": 1}}, InputError, "num_partitions"),
        ({"index_options": {"distance_type": "cosine"}}, InputError, "num_partitions"),
        ({"index_options": {"num_partitions": 0}}, InputError, "whole number"),
        ({"index_options": [1]}, InputError, "dictionary"),
        ({"index": "none", "index_options": {"num_partitions": 2}}, InputError, "without an index"),
        ({"index_from": 10}, InputError, "from 256"),
        ({"nprobes": 0}, InputError, "nprobes"),
        ({"ef": "many"}, InputError, "ef"),
        ({"keep_versions": 0}, InputError, "keep_versions"),
        ({"storage_options": "secret"}, InputError, "dictionary"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_before_anything_is_made(tmp_path, params, error, text):
    where = str(tmp_path / "index")
    where = "s3://bucket/index" if "storage_options" in params else where
    with pytest.raises(error, match=text):
        LancedbBackend.create(spec_of("native", **params), where)
    assert not list(tmp_path.iterdir())


def test_rabitq_wants_whole_bytes(tmp_path):
    with pytest.raises(UnsupportedError, match="multiple of 8"):
        LancedbBackend.create(spec_of("native", dim=63, index="IVF_RQ"), str(tmp_path / "index"))


def test_an_option_that_lancedb_refuses_is_told(tmp_path):
    spec = spec_of("native", index="IVF_PQ", index_options={"num_sub_vectors": 7})
    with pytest.raises(EngineError, match="must divide"):
        filled(spec, tmp_path / "index")


@pytest.mark.parametrize("location", [None, "", "s3://bucket", "s3://", "db://"])
def test_a_location_without_a_name_is_refused(location):
    with pytest.raises(InputError):
        LancedbBackend.create(spec_of("int8"), location)


def test_places_show_no_secrets(monkeypatch):
    options = {"aws_secret_access_key": "the-secret", "endpoint": "http://here"}
    place = place_of("s3://bucket/a/name", spec_of("int8", storage_options=options))
    assert (place.uri, place.table, str(place)) == ("s3://bucket/a", "name", "s3://bucket/a/name")
    assert "the-secret" in place.secrets
    assert "the-secret" not in repr(place)
    monkeypatch.setenv("LANCEDB_API_KEY", "the-api-key")
    cloud = place_of("db://mine/name", spec_of("int8", region="eu-west-1"))
    assert (cloud.uri, cloud.table, cloud.remote) == ("db://mine", "name", True)
    assert cloud.connection["region"] == "eu-west-1"
    assert "the-api-key" not in repr(cloud)
    monkeypatch.delenv("LANCEDB_API_KEY")
    with pytest.raises(InputError, match="LANCEDB_API_KEY"):
        place_of("db://mine/name", spec_of("int8"))


def test_what_is_not_ours_stays(tmp_path):
    spec, theirs = spec_of("int8"), tmp_path / "theirs"
    lancedb.connect(theirs).create_table("codes", [{"key": 1, "code": [1.0, 2.0]}])
    before = sorted(theirs.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(LocationTakenError):
            LancedbBackend.create(spec, str(theirs), overwrite=overwrite)
    with pytest.raises(CorruptIndexError, match="not made by requant"):
        LancedbBackend.open(spec, str(theirs))
    with pytest.raises(LocationTakenError, match="not made by requant"):
        LancedbBackend.drop(spec, str(theirs))
    assert sorted(theirs.rglob("*")) == before


def test_a_file_in_the_way_stays(tmp_path):
    spec, path = spec_of("int8"), tmp_path / "index"
    path.write_text("mine")
    with pytest.raises(LocationTakenError):
        LancedbBackend.create(spec, str(path))
    with pytest.raises(CorruptIndexError):
        LancedbBackend.open(spec, str(path))
    with pytest.raises(LocationTakenError):
        LancedbBackend.drop(spec, str(path))
    assert path.read_text() == "mine"


def test_dropping_leaves_only_what_others_put_there(tmp_path):
    spec, where = spec_of("int8"), tmp_path / "index"
    for extra in (False, True):
        filled(spec, where)[0].close()
        if extra:
            (where / "notes.txt").write_text("mine")
        LancedbBackend.drop(spec, str(where))
        assert [path.name for path in tmp_path.rglob("*")] == ["index", "notes.txt"] * extra


def test_opening_nothing_makes_nothing(tmp_path):
    with pytest.raises(CorruptIndexError, match="no lancedb index"):
        LancedbBackend.open(spec_of("int8"), str(tmp_path / "index"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorruptIndexError, match="no lancedb index"):
        LancedbBackend.open(spec_of("int8"), str(tmp_path / "empty"))
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize(
    ("other", "trait"),
    [
        (spec_of("int8", dim=63), "dim"),
        (spec_of("uint8"), "format"),
        (spec_of("int8", metric="ip"), "metric"),
        (spec_of("int8", "hnsw"), "index_type"),
    ],
    ids=["dim", "format", "metric", "index_type"],
)
def test_another_kind_of_index_is_refused(tmp_path, other, trait):
    filled(spec_of("int8"), tmp_path / "index")[0].close()
    with pytest.raises(CorruptIndexError, match=trait):
        LancedbBackend.open(other, str(tmp_path / "index"))


@pytest.mark.parametrize("filled", [False, True])
def test_a_disk_that_refuses_to_remove(tmp_path, monkeypatch, filled):
    spec, where = spec_of("int8"), tmp_path / "index"
    if filled:
        LancedbBackend.create(spec, str(where)).close()
    else:
        where.mkdir()

    def refuse(_path):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rmdir", refuse)
        with pytest.raises(EngineError, match="cannot be removed"):
            LancedbBackend.drop(spec, str(where))
    LancedbBackend.drop(spec, str(where))
    assert not where.exists()


def newest_of(where):
    files = (where / "codes.lance" / "data").glob("*.lance")
    return max(files, key=lambda file: file.stat().st_mtime_ns)


def test_a_file_whose_last_write_failed_is_not_taken_for_written(tmp_path):
    """LanceDB says nothing of it: an upsert and a flush succeed on a disk that is full for once."""
    spec, where = spec_of("int8"), tmp_path / "index"
    backend, judge = filled(spec, where)
    backend.upsert(judge.keys[:50], judge.codes[:50])
    cut = newest_of(where)
    os.truncate(cut, cut.stat().st_size // 512 * 512)
    with pytest.raises(CorruptIndexError, match="not written all"):
        backend.flush()
    backend.close()
    backend = LancedbBackend.open(spec, str(where))
    with pytest.raises(CorruptIndexError, match="damaged"):
        list(backend.export())
    backend.close()
