"""Qdrant servers that are down, slow, restarted, locked, or hold what is not ours."""

import numpy as np
import pytest
from qdrant_client.http import models

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend, places, points, retry
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests.qdrant_server import running

KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def server():
    with running() as running_server:
        yield running_server


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(retry, "_FIRST_PAUSE", 0.02)


@pytest.fixture(autouse=True)
def _no_key_around(monkeypatch):
    for name in ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def spec_of(format="int8", metric="l2", dim=64, **params):
    return IndexSpec(code_spec(format, dim), metric, "flat", params)


def filled(where, spec, n=60):
    index = QdrantBackend.create(spec, where)
    index.upsert(make_keys(n), make_codes(spec.code, n))
    return index, Judge(spec, make_keys(n), make_codes(spec.code, n))


def test_a_server_that_is_down(server):
    where, spec = f"{server.url}/notes", spec_of(retries=1)
    index, judge = filled(where, spec)
    server.stop()
    for call in (
        lambda: QdrantBackend.create(spec, f"{server.url}/more"),
        lambda: QdrantBackend.open(spec, where),
        lambda: QdrantBackend.drop(spec, where),
        lambda: index.upsert(judge.keys, judge.codes),
        lambda: index.delete(judge.keys),
        lambda: index.search(make_queries(spec.code, 1), 3),
        lambda: list(index.export()),
        lambda: len(index),
    ):
        with pytest.raises(EngineError, match=r"http://127.0.0.1:\d+/\w+: .*cannot be reached"):
            call()
    server.start()
    judge.holds(index)
    index.close()


def test_a_server_that_is_slow(server):
    index, judge = filled(f"{server.url}/notes", spec_of(retries=0, timeout=1))
    server.delay = 1.3
    with pytest.raises(EngineError, match=r"no answer in time.*timeout"):
        index.search(make_queries(judge.spec.code, 1), 3)
    server.delay = 0.0
    judge.holds(index)
    index.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_fault_that_passes(server, status):
    index, judge = filled(f"{server.url}/notes", spec_of())
    for call in (lambda: index.upsert(judge.keys, judge.codes), lambda: judge.holds(index)):
        server.fail(status, 3)
        call()
    index.close()


def test_a_fault_that_stays_is_told_with_the_number_of_tries(server):
    index, _ = filled(f"{server.url}/notes", spec_of(retries=2))
    server.fail(503, 10)
    with pytest.raises(EngineError, match=r"3 tries.*503"):
        len(index)
    index.close()


def test_a_refusal_is_not_repeated(server):
    index, _ = filled(f"{server.url}/notes", spec_of())
    before = len(server.requests)
    server.fail(400, 1)
    with pytest.raises(EngineError, match="400"):
        len(index)
    assert len(server.requests) == before + 1
    index.close()


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_restart_in_the_middle_of_an_upload_loses_nothing(server, monkeypatch, parallel):
    monkeypatch.setattr(points, "_VALUES", 64 * 50)
    spec = spec_of("binary", "hamming", retries=8, parallel=parallel)
    writes = iter(range(1000))

    def go_down_once():
        if next(writes) == 4:
            server.cut(2)
            server.restart_after(0.3)

    server.on_write = go_down_once
    index, judge = filled(f"{server.url}/notes", spec, 1000)
    assert next(writes) > 20
    judge.holds(index)
    judge.is_exact(index.search(judge.codes[:3], 7), judge.codes[:3], 7)
    index.close()


def test_a_write_whose_answer_is_lost_is_repeated_without_harm(server):
    index, judge = filled(f"{server.url}/notes", spec_of())
    server.cut(2)
    index.upsert(judge.keys[:30], judge.codes[:30][::-1].copy())
    codes = np.concatenate([judge.codes[:30][::-1], judge.codes[30:]])
    Judge(judge.spec, judge.keys, codes).holds(index)
    assert index.delete(judge.keys[:7]) == 7
    index.close()


def test_a_creation_whose_answer_is_lost_is_recognized(server):
    server.cut(1)
    index, judge = filled(f"{server.url}/notes", spec_of())
    judge.holds(index)
    index.close()


def test_a_wrong_key(server):
    server.key = "the right one"
    for spec in (spec_of(api_key=KEY), spec_of()):
        with pytest.raises(EngineError, match=r"401.*REQUANT_QDRANT_API_KEY") as caught:
            QdrantBackend.create(spec, f"{server.url}/notes")
        assert KEY not in str(caught.value)
    assert not server.requests


def test_a_key_from_the_spec_and_from_the_environment(server, monkeypatch):
    server.key = KEY
    where = f"{server.url}/notes"
    index, judge = filled(where, spec_of(api_key=KEY))
    index.close()
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    QdrantBackend.open(spec_of(), where).close()
    monkeypatch.setenv("REQUANT_QDRANT_API_KEY", "wrong")
    with pytest.raises(EngineError, match="401"):
        QdrantBackend.open(spec_of(), where)
    index = QdrantBackend.open(spec_of(api_key=KEY), where)
    judge.holds(index)
    index.close()


def test_a_collection_of_somebody_else_is_left_alone(server):
    where = f"{server.url}/theirs"
    vectors = models.VectorParams(
        size=64, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8
    )
    server.client.create_collection("theirs", vectors)
    server.client.upsert("theirs", [models.PointStruct(id=1, vector=[1.0] * 64)])
    with pytest.raises(CorruptIndexError, match="not an index that requant made"):
        QdrantBackend.open(spec_of(), where)
    with pytest.raises(LocationTakenError, match="exists"):
        QdrantBackend.create(spec_of(), where)
    with pytest.raises(LocationTakenError, match="not made by requant"):
        QdrantBackend.drop(spec_of(), where)
    assert server.client.count("theirs").count == 1
    QdrantBackend.create(spec_of(), where, overwrite=True).close()
    assert server.client.count("theirs").count == 0


@pytest.mark.parametrize(
    ("other", "trait"),
    [
        (spec_of(dim=32), "dimension"),
        (spec_of(metric="ip"), "distance"),
        (spec_of("uint8"), "format"),
        (spec_of("binary", "hamming"), "distance"),
        (spec_of("native", "l2"), "datatype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_kind_of_index_is_refused_by_its_trait(server, other, trait):
    index, _ = filled(f"{server.url}/notes", spec_of())
    index.close()
    with pytest.raises(CorruptIndexError, match=trait):
        QdrantBackend.open(other, f"{server.url}/notes")


def test_a_collection_with_named_vectors_is_refused(server):
    vectors = {"title": models.VectorParams(size=64, distance=models.Distance.DOT)}
    server.client.create_collection("theirs", vectors)
    with pytest.raises(CorruptIndexError, match="named vectors"):
        QdrantBackend.open(spec_of(), f"{server.url}/theirs")


def test_a_server_too_old_to_know_what_is_ours(server):
    server.forgets_metadata = True
    with pytest.raises(EngineError, match=r"1\.16"):
        QdrantBackend.create(spec_of(), f"{server.url}/notes")
    assert not server.client.collection_exists("notes")


def test_a_collection_that_goes_away(server):
    index, judge = filled(f"{server.url}/notes", spec_of())
    server.client.delete_collection("notes")
    with pytest.raises(EngineError, match="somebody dropped it"):
        index.search(make_queries(judge.spec.code, 1), 3)
    index.close()


def test_what_others_write_is_counted(server):
    index, judge = filled(f"{server.url}/notes", spec_of())
    other = QdrantBackend.open(judge.spec, f"{server.url}/notes")
    assert (len(index), other.delete(judge.keys[:5]), len(index)) == (60, 5, 55)
    index.close()
    other.close()


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:6333",
        "http://localhost:6333/",
        "http://localhost:6333/..",
        "http://localhost:6333/no spaces",
        "http:///notes",
        "http://localhost:port/notes",
        f"http://user:{KEY}@localhost:6333/notes",
        f"http://localhost:6333/notes?api_key={KEY}",
        "grpc://localhost:6334/notes",
        "local:",
        "",
    ],
)
def test_an_address_that_cannot_be_is_refused(location):
    with pytest.raises(InputError) as caught:
        QdrantBackend.create(spec_of(), location)
    assert KEY not in str(caught.value)


def test_an_address_behind_a_prefix():
    place = places.parse("https://example.org/vectors/notes")
    assert place == places.Server("https://example.org/vectors", "notes")


@pytest.mark.parametrize(
    "params",
    [{"timeout": 0}, {"timeout": "long"}, {"retries": -1}, {"prefer_grpc": 1}, {"parallel": 0}],
    ids=str,
)
def test_parameters_that_cannot_be_are_refused(server, params):
    with pytest.raises(InputError, match=next(iter(params))):
        QdrantBackend.create(spec_of(**params), f"{server.url}/notes")
    assert not server.client.collection_exists("notes")
