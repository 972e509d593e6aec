"""What a Qdrant server takes in one request, and what it may answer."""

import numpy as np
import pytest
from qdrant_client.http import models

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import QdrantBackend
from requant.adapters.qdrant.places import parse
from requant.quantizers.errors import InputError
from requant.testing.data import code_spec, make_codes, make_keys, make_queries
from requant.testing.judge import Judge
from tests import inside
from tests.qdrant_server import running

KEY = "a-key-that-nobody-may-see"
LIMIT = 32 << 20


@pytest.fixture
def server():
    with running() as running_server:
        yield running_server


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(inside.QDRANT_FIRST_PAUSE, 0.02)
    for name in ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def spec_of(format="int8", metric="l2", dim=16, index_type="flat", **params):
    return IndexSpec(code_spec(format, dim), metric, index_type, params)


def filled(server, spec, n=60, name="notes"):
    index = QdrantBackend.create(spec, f"{server.url}/{name}")
    index.upsert(make_keys(n), make_codes(spec.code, n))
    return index, Judge(spec, make_keys(n), make_codes(spec.code, n))


def test_a_filtered_batch_stays_below_the_limit_of_a_request(server):
    """230 queries that carry 12,000 keys each make 39 MB."""
    index, judge = filled(server, spec_of())
    among = np.union1d(np.arange(12_000) + (7 << 40), judge.keys[::2])
    queries = make_queries(judge.spec.code, 230)
    judge.is_exact(index.search(queries, 5, among=among), queries, 5, among)
    assert max(server.bodies) < LIMIT
    assert sum(server.bodies) > LIMIT
    index.close()


def test_wide_vectors_stay_below_the_limit_of_a_request(server):
    index, judge = filled(server, spec_of("float32", dim=16_384), 30)
    queries = make_queries(judge.spec.code, 120)
    judge.is_exact(index.search(queries, 5), queries, 5)
    assert max(server.bodies) < LIMIT
    assert sum(server.bodies) > LIMIT
    index.close()


@pytest.mark.parametrize("told", ["by the server", "by parameters"])
def test_strict_mode_is_kept_to(server, told):
    most = {"upsert_max_batchsize": 7, "search_max_batchsize": 3, "condition_max_size": 11}
    server.strict = most
    params = {}
    if told == "by parameters":
        server.told = {"config.strict_mode_config": None}
        params = most
    index, judge = filled(server, spec_of(**params))
    queries, some = make_queries(judge.spec.code, 10), judge.keys[::2]
    judge.is_exact(index.search(queries, 40), queries, 40)
    judge.is_exact(index.search(queries, 20, among=some), queries, 20, some)
    index.close()
    again = QdrantBackend.open(judge.spec, f"{server.url}/notes")
    again.upsert(judge.keys, judge.codes)
    judge.holds(again)
    again.close()


def test_what_strict_mode_refuses_is_told_in_its_own_words(server):
    index, judge = filled(server, spec_of())
    server.strict = {"search_max_batchsize": 3}
    with pytest.raises(EngineError, match="10 > 3 for 'search_max_batchsize'"):
        index.search(make_queries(judge.spec.code, 10), 4)
    index.close()


def test_several_shards_are_asked_for_more(server):
    server.told = {"config.params.shard_number": 2}
    index, judge = filled(server, spec_of(), 400)
    queries = make_queries(judge.spec.code, 2)
    judge.is_exact(index.search(queries, 200), queries, 200)
    assert set(server.limits) == {225}
    server.limits.clear()
    judge.is_exact(index.search(queries, 100), queries, 100)
    assert set(server.limits) == {100}
    index.close()


def test_a_search_waits_for_no_writer(server, monkeypatch):
    """Optimizing is the server's own business, however much was written."""
    monkeypatch.setattr(inside.QDRANT_LATE, 50)
    index, judge = filled(server, spec_of("float32", index_type="hnsw"), 100)
    with inside.writing_of(index):
        found = index.search(make_queries(judge.spec.code, 3), 5)
    judge.rules(found, make_queries(judge.spec.code, 3), 5)
    index.close()


@pytest.mark.parametrize("status", [408, 504, 503])
def test_a_search_that_took_too_long_is_not_asked_again(server, status):
    index, judge = filled(server, spec_of())
    before = len(server.requests)
    server.fail(status, 1)
    queries = make_queries(judge.spec.code, 3)
    if status == 408:
        with pytest.raises(EngineError, match="no answer in time"):
            index.search(queries, 5)
        assert len(server.requests) == before + 1
    else:
        judge.is_exact(index.search(queries, 5), queries, 5)
    index.close()


def test_a_write_that_took_too_long_is_begun_again_within_its_time(server):
    index, judge = filled(server, spec_of(timeout=1, total_timeout=1))
    server.fail(408, 2)
    index.upsert(judge.keys, judge.codes)
    server.slow_writes = 1.3
    before = len(server.requests)
    with pytest.raises(EngineError, match="no answer in time"):
        index.upsert(judge.keys, judge.codes)
    assert [row for row in server.requests[before:] if row.startswith("PUT")] == [
        "PUT /collections/notes/points"
    ]
    server.slow_writes = 0.0
    judge.holds(index)
    index.close()


def test_a_fault_that_stays_ends_when_its_time_is_over(server, monkeypatch):
    monkeypatch.setattr(inside.QDRANT_FIRST_PAUSE, 10.0)
    index, _ = filled(server, spec_of(timeout=2, total_timeout=2, retries=100))
    server.fail(503, 50)
    with pytest.raises(EngineError, match="503"):
        len(index)
    index.close()


def test_writes_that_wait_for_the_optimizer_are_explained(server):
    index, judge = filled(server, spec_of(timeout=1, retries=0))
    server.slow_writes = 1.3
    server.told = {"config.optimizer_config.prevent_unoptimized": True}
    with pytest.raises(EngineError, match="prevent_unoptimized on"):
        index.upsert(judge.keys, judge.codes)
    index.close()


@pytest.mark.parametrize("ordering", ["weak", "medium", "strong", None])
def test_the_order_of_writes_can_be_chosen(server, ordering):
    params = {} if ordering is None else {"ordering": ordering}
    index, judge = filled(server, spec_of(**params))
    index.delete(judge.keys[:3])
    writes = [query for query in server.queries if "wait=true" in query]
    assert len(writes) == 2
    assert all((f"ordering={ordering}" in query) == (ordering is not None) for query in writes)
    index.close()
    with pytest.raises(InputError, match="weak, medium, strong"):
        QdrantBackend.create(spec_of(ordering="any"), f"{server.url}/more")


def test_an_alias_under_our_name_is_refused(server):
    index, judge = filled(server, spec_of(), name="theirs")
    index.close()
    alias = models.CreateAlias(collection_name="theirs", alias_name="notes")
    server.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    where = f"{server.url}/notes"
    for call in (
        lambda: QdrantBackend.create(judge.spec, where),
        lambda: QdrantBackend.create(judge.spec, where, overwrite=True),
        lambda: QdrantBackend.open(judge.spec, where),
        lambda: QdrantBackend.drop(judge.spec, where),
    ):
        with pytest.raises(LocationTakenError, match="alias of the collection 'theirs'"):
            call()
    assert not any(request.startswith("DELETE") for request in server.requests)
    again = QdrantBackend.open(judge.spec, f"{server.url}/theirs")
    judge.holds(again)
    again.close()


@pytest.mark.parametrize("answer", ["nothing", "damage", "an error"])
def test_no_collection_is_deleted_because_it_cannot_be_described(server, answer):
    index, judge = filled(server, spec_of())
    index.close()

    def mangle(request, result):
        if request.startswith("GET /collections/"):
            if answer == "an error":
                server.fail(500, 1)
            return {"damage": 1} if answer == "damage" else None
        return result

    server.mangle = mangle
    where = f"{server.url}/notes"
    for call in (
        lambda: QdrantBackend.create(judge.spec, where, overwrite=True),
        lambda: QdrantBackend.drop(judge.spec, where),
        lambda: QdrantBackend.create(judge.spec, f"{server.url}/more"),
    ):
        with pytest.raises(EngineError):
            call()
    assert not any(request.startswith("DELETE") for request in server.requests)
    server.mangle = None
    server.fail(500, 0)
    again = QdrantBackend.open(judge.spec, where)
    judge.holds(again)
    again.close()


def test_a_new_collection_that_another_server_does_not_know_yet_is_not_deleted(server):
    calls = iter([None, 404])

    def mangle(request, result):
        if request == "GET /aliases":
            server.fail(404, 1)  # before it is made
        if request == "PUT /collections/notes":
            server.fail(next(calls, 404) or 404, 1)
        return result

    server.mangle = mangle
    with pytest.raises(EngineError, match="the server does not know it"):
        QdrantBackend.create(spec_of(), f"{server.url}/notes")
    assert server.client.collection_exists("notes")


def test_a_refusal_shows_what_the_server_says(server):
    index, _ = filled(server, spec_of(api_key=KEY))
    text = f"Forbidden: Write access to collection notes is required, not {KEY}"
    server.fail(403, 1, text)
    with pytest.raises(EngineError, match="Write access to collection notes is required") as caught:
        len(index)
    assert KEY not in str(caught.value)
    index.close()


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:6333/notes", True),
        ("http://127.0.0.1:6333/notes", True),
        ("http://[::1]:6333/notes", True),
        ("https://example.org/notes", True),
        ("http://example.org/notes", False),
        ("http://192.168.1.7:6333/notes", False),
        ("http://localhost.example.org/notes", False),
    ],
)
def test_where_a_key_can_be_read_on_the_way(url, private):
    assert parse(url).is_private == private


def test_a_key_over_plain_http_is_warned_of():
    spec = spec_of(api_key=KEY, retries=0, timeout=0.1)
    with (
        pytest.warns(UserWarning, match="plain text") as told,
        pytest.raises(EngineError),
    ):
        QdrantBackend.open(spec, "http://192.0.2.1:6333/notes")
    assert not any(KEY in str(warning.message) for warning in told)


def points_of(result):
    return result[0]["points"]


MALFORMED = {
    "no result": lambda result: None,
    "a text": lambda result: "text",
    "an answer too few": lambda result: result[:-1],
    "an id of text": lambda result: points_of(result)[0].update(id="five") or result,
    "an id of ours that cannot be": lambda result: points_of(result)[0].update(id=2**62) or result,
    "no id": lambda result: points_of(result)[0].pop("id") and result,
    "a score of text": lambda result: points_of(result)[0].update(score="near") or result,
    "a score that is none": lambda result: points_of(result)[0].update(score=None) or result,
    "a score without end": lambda result: points_of(result)[0].update(score=float("inf")) or result,
}


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers_to_searches_are_errors(server, damage):
    index, judge = filled(server, spec_of())
    server.mangle = lambda request, result: damage(result) if "query" in request else result
    with pytest.raises(EngineError, match=f"{server.url}/notes"):
        index.search(make_queries(judge.spec.code, 3), 5)
    server.mangle = None
    judge.holds(index)
    index.close()


PAGES = {
    "no vector": lambda result: result["points"][0].update(vector=None) or result,
    "a vector too short": lambda result: result["points"][0]["vector"].pop() and result,
    "an id of text": lambda result: result["points"][0].update(id="five") or result,
    "a next page of text": lambda result: result | {"next_page_offset": "five"},
    "no points": lambda result: {"next_page_offset": None},
}


@pytest.mark.parametrize("damage", PAGES.values(), ids=PAGES)
def test_malformed_pages_are_errors(server, damage):
    index, _ = filled(server, spec_of())
    server.mangle = lambda request, result: damage(result) if "scroll" in request else result
    with pytest.raises(EngineError, match=f"{server.url}/notes"):
        list(index.export())
    index.close()


def test_pages_that_never_end_are_an_error(server):
    index, judge = filled(server, spec_of())
    first = int(judge.keys[0])

    def mangle(request, result):
        return result | {"next_page_offset": first} if "scroll" in request else result

    server.mangle = mangle
    with pytest.raises(EngineError, match="goes on at"):
        list(index.export())
    index.close()


def test_a_malformed_count_is_an_error(server):
    index, _ = filled(server, spec_of())
    server.mangle = lambda request, result: {"count": -1} if "count" in request else result
    with pytest.raises(EngineError, match="malformed"):
        len(index)
    index.close()


def test_a_key_that_is_answered_twice_is_one_hit(server):
    index, judge = filled(server, spec_of())

    def mangle(request, result):
        if "query" in request:
            for answer in result:
                points = answer["points"]
                answer["points"] = [point for point in points for _ in range(2)][: len(points)]
        return result

    server.mangle = mangle
    queries = make_queries(judge.spec.code, 3)
    judge.is_exact(index.search(queries, 8), queries, 8)
    index.close()


def test_a_damaged_answer_to_opening_is_an_error(server):
    index, judge = filled(server, spec_of())
    index.close()
    server.mangle = lambda request, result: {"config": 5}
    with pytest.raises((EngineError, CorruptIndexError)):
        QdrantBackend.open(judge.spec, f"{server.url}/notes")
