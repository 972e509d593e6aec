"""What only Qdrant has: native forms, graphs, compression, and the engine's own words."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import qdrant_edge as edge

from requant.adapters.errors import EngineError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend, points
from requant.adapters.qdrant.connection import Limits
from requant.adapters.qdrant.edge import EdgeConnection
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside

SMALL = {"indexing_threshold": 10, "full_scan_threshold": 10}


def spec_of(format, index_type="flat", metric="l2", dim=64, **params):
    metric = "hamming" if format == "binary" else metric
    return IndexSpec(code_spec(format, dim), metric, index_type, params)


def filled(folder, spec, n=300):
    index = QdrantBackend.create(spec, str(folder / "index"))
    index.upsert(make_keys(n), make_codes(spec.code, n))
    return index, Judge(spec, make_keys(n), make_codes(spec.code, n))


def plain(folder):
    return edge.EdgeShard.load(str(folder / "index" / "shard"))


def info_of(index):
    return inside.shard_of(index).info()


@pytest.mark.parametrize(
    ("format", "metric", "datatype", "distance"),
    [
        ("int8", "l2", "Uint8", "Euclid"),
        ("int8", "ip", "Float16", "Dot"),
        ("uint8", "l2", "Uint8", "Euclid"),
        ("float16", "ip", "Float16", "Dot"),
        ("float32", "l2", "Float32", "Euclid"),
        ("binary", "hamming", "Float32", "Dot"),
        ("native", "ip", "Float32", "Dot"),
    ],
)
def test_plain_qdrant_opens_the_shard(tmp_path, monkeypatch, format, metric, datatype, distance):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    index, judge = filled(tmp_path, spec_of(format, metric=metric))
    queries = make_queries(judge.spec.code, 1)
    expected = index.search(queries, 5)
    index.flush()
    index.close()
    shard = plain(tmp_path)
    config = edge_config(tmp_path)
    assert config["size"] == 64
    assert config["distance"] == distance
    assert (config.get("datatype") or "float32") == datatype.lower()
    vectors = points.vectors_of(queries, judge.spec)
    found = shard.query(
        edge.QueryRequest(
            limit=5,
            query=edge.Query.Nearest(vectors[0]),
            params=edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=False)),
        )
    )
    assert [point.id for point in found] == expected.keys[0].tolist()
    shard.close()


def edge_config(folder):
    text = (folder / "index" / "shard" / "edge_config.json").read_text()
    (vectors,) = json.loads(text)["vectors"].values()
    return vectors


def test_half_floats_are_avoided_where_they_overflow(tmp_path, monkeypatch):
    """Qdrant adds up half floats in half precision on ARM."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for format in ("int8", "float16"):
        index, judge = filled(tmp_path / format, spec_of(format, metric="ip"), 20)
        judge.holds(index)
        index.close()
        assert edge_config(tmp_path / format).get("datatype") in (None, "float32")


@pytest.mark.parametrize(
    ("format", "metric"),
    [("float32", "ip"), ("int8", "l2"), ("int8", "ip"), ("binary", "hamming"), ("native", "l2")],
)
def test_a_graph_is_built_and_walked(tmp_path, format, metric):
    index, judge = filled(tmp_path, spec_of(format, "hnsw", metric, **SMALL), 4000)
    index.flush()
    assert info_of(index).indexed_vectors_count == 4000
    queries = make_queries(judge.spec.code, 40)
    low = judge.rules(index.search(queries, 10, effort=10), queries, 10)
    high = judge.rules(index.search(queries, 10, effort=600), queries, 10)
    assert high >= max(low, 0.9)
    judge.rules(index.search(queries[:3], 3900), queries[:3], 3900)
    some = judge.keys[::3]
    # Its threads build another graph each time: with as much effort as above that does not matter.
    found = index.search(queries, 10, among=some, effort=600)
    assert judge.rules(found, queries, 10, some) > 0.9
    judge.holds(index)
    index.close()


def test_a_flat_index_of_bits_is_exact_before_and_after_optimizing(tmp_path):
    index, judge = filled(tmp_path, spec_of("binary", dim=384, **SMALL), 3000)
    queries = make_queries(judge.spec.code, 20)
    judge.is_exact(index.search(queries, 50), queries, 50)
    index.flush()
    assert info_of(index).indexed_vectors_count == 3000
    judge.is_exact(index.search(queries, 50), queries, 50)
    assert index.delete(judge.keys[:1000]) == 1000
    left = Judge(judge.spec, judge.keys[1000:], judge.codes[1000:])
    left.is_exact(index.search(queries, 50), queries, 50)
    index.flush()
    left.is_exact(index.search(queries, 50), queries, 50)
    left.holds(index)
    index.close()


@pytest.mark.parametrize(
    ("kind", "options", "floor"),
    [
        ("scalar", {}, 0.9),
        ("scalar", {"quantile": 0.99}, 0.85),
        ("binary", {}, 0.3),
        ("binary", {"encoding": "two_bits", "query_encoding": "scalar8bits"}, 0.4),
        ("turbo", {}, 0.6),
        ("turbo", {"bits": 1.5}, 0.3),
        ("product", {"compression": "x8"}, 0.3),
        ("product", {}, 0.2),
    ],
    ids=str,
)
def test_native_compression_by_choice(tmp_path, kind, options, floor):
    params = {"quantization": kind, "quantization_options": options, **SMALL}
    index, judge = filled(tmp_path, spec_of("native", metric="ip", **params), 2000)
    index.flush()
    queries = make_queries(judge.spec.code, 40)
    recall = judge.rules(index.search(queries, 10), queries, 10)
    assert floor <= recall < 1.0, "vectors were rescored, or compression lost everything"
    judge.holds(index)
    index.close()


@pytest.mark.parametrize(
    "params",
    [
        {"quantization": "none"},
        {"quantization": "turbo", "quantization_options": {"bits": 3}},
        {"quantization": "turbo", "quantization_options": {"bytes": 3}},
        {"quantization": "product", "quantization_options": {"compression": "x5"}},
        {"quantization_options": "best"},
        {"wal": 1},
        {"m": 1},
        {"hnsw_ef": -1},
    ],
    ids=str,
)
def test_parameters_that_cannot_be_are_refused(tmp_path, params):
    where = str(tmp_path / "index")
    with pytest.raises(InputError):
        QdrantBackend.create(spec_of("native", "hnsw", **params), where)
    assert not os.path.lexists(where)


def test_a_search_after_a_long_upload_optimizes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(inside.QDRANT_LATE, 500)
    index, judge = filled(tmp_path, spec_of("int8", "hnsw", **SMALL), 400)
    queries = make_queries(judge.spec.code, 4)
    index.search(queries, 5)
    assert info_of(index).indexed_vectors_count == 0
    index.upsert(judge.keys, judge.codes)
    index.search(queries, 5)
    assert info_of(index).indexed_vectors_count > 0
    judge.holds(index)
    index.close()


def test_distances_beyond_what_a_root_can_tell_are_exact(tmp_path):
    spec = spec_of("int8", dim=2500)
    rng = np.random.default_rng(0)
    codes = rng.choice(np.array([-60, -59, 59, 60], np.int8), (400, 2500))
    index = QdrantBackend.create(spec, str(tmp_path / "index"))
    index.upsert(make_keys(400), codes)
    judge = Judge(spec, make_keys(400), codes)
    found = index.search(-codes[:4], 300)
    assert found.distances.max() > 2**22
    judge.is_exact(found, -codes[:4], 300)
    index.close()


def test_key_sets_beyond_one_filter_are_asked_for_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(EdgeConnection, "limits", Limits(keys=20))
    for format, metric in (("int8", "l2"), ("int8", "ip"), ("binary", "hamming")):
        index, judge = filled(tmp_path / f"{format}{metric}", spec_of(format, metric=metric))
        queries, some = make_queries(judge.spec.code, 5), judge.keys[::4]
        judge.is_exact(index.search(queries, 30, among=some), queries, 30, some)
        judge.is_exact(index.search(queries, 90, among=some), queries, 90, some)
        index.close()


def test_many_queries_and_an_enormous_k(tmp_path):
    index, judge = filled(tmp_path, spec_of("uint8"), 50)
    queries = make_queries(judge.spec.code, 600)
    judge.is_exact(index.search(queries, 4), queries, 4)
    judge.is_exact(index.search(queries[:2], 200_000), queries[:2], 200_000)
    index.close()


def test_padding_bits_are_kept_and_counted(tmp_path):
    spec = spec_of("binary", dim=13)
    codes = np.random.default_rng(1).integers(0, 256, (60, 2)).astype(np.uint8)
    index = QdrantBackend.create(spec, str(tmp_path / "index"))
    index.upsert(make_keys(60), codes)
    judge = Judge(spec, make_keys(60), codes)
    judge.holds(index)
    judge.is_exact(index.search(codes[:5], 60), codes[:5], 60)
    index.close()


def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    """Qdrant would not fail but die: it writes to mapped files."""
    index, judge = filled(tmp_path, spec_of("int8", "hnsw", **SMALL), 500)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 << 20))
    with pytest.raises(EngineError, match="nearly full, 100 MB are left"):
        index.upsert(judge.keys + 2**50, judge.codes)
    for call in (
        lambda: QdrantBackend.create(judge.spec, str(tmp_path / "more")),
        lambda: QdrantBackend.open(judge.spec, str(tmp_path / "index")),
        lambda: index.delete(judge.keys),
    ):
        with pytest.raises(EngineError, match="nearly full"):
            call()
    assert [found.name for found in tmp_path.iterdir()] == ["index"]
    index.flush()
    assert info_of(index).indexed_vectors_count == 0
    judge.holds(index)
    monkeypatch.undo()
    index.flush()
    assert info_of(index).indexed_vectors_count == 500
    index.close()


_MISSING = """
import sys
sys.modules[{missing!r}] = None
import numpy as np
from requant.adapters.errors import EngineMissingError
from requant.adapters.errors import EngineError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend, backend
from requant.quantizers.codes import CodeSpec
spec = IndexSpec(CodeSpec("int8", 2), "l2")
index = QdrantBackend.create(spec, {good!r})
index.upsert(np.array([7]), np.array([[1, 2]], np.int8))
assert len(index) == 1
for bad in {bad!r}:
    try:
        QdrantBackend.create(spec, bad)
    except EngineMissingError as error:
        assert "pip install 'requant[qdrant]'" in str(error)
    else:
        sys.exit("not refused")
"""


def test_either_library_is_enough(tmp_path):
    folder = str(tmp_path / "index")
    for missing, good, bad in (
        ("qdrant_client", folder, [":memory:", "http://localhost:6333/notes"]),
        ("qdrant_edge", ":memory:", [folder + "2"]),
    ):
        program = _MISSING.format(missing=missing, good=good, bad=bad)
        subprocess.run([sys.executable, "-c", program], check=True)
