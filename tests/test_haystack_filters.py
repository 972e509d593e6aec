"""Haystack's filters mean what its own `document_matches_filter` says, in both databases."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from random import Random

import numpy as np
import pytest
from haystack.dataclasses import ByteStream, Document, SparseEmbedding
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

import requant
from requant.integration.haystack import RequantDocumentStore
from requant.integration.haystack.filters import read

BIG = 2**53
# In an order Haystack guesses dates in some texts ("1", "May 2024"), which is tested apart.
TEXTS = ["", "a", "A", "ab", "zebra", "é", "2024-99-01", "200 apples", 'q"q', "x\\"]
DATES = [
    "2024-05-01", "2024-05-01T00:00:00", "2024-05-01 10:00", "2024-05-01T10:00:00Z",
    "2024-05-01T12:00:00+02:00", "2024-05-02", "2023-12-31T23:30:00-05:00",
    "0001-01-01", "9999-12-31T23:59:59+00:00", "2024-05-01T10:00:00.123456",
]  # fmt: skip
NUMBERS = [0, 1, 1.0, -2, 0.5, True, False, BIG, BIG + 1, float(BIG), 10**25, 1e300, -0.0]
SCALARS = [None, *TEXTS, *DATES, *NUMBERS]
ODD = [
    datetime(2024, 5, 1, 10), datetime(2024, 5, 1, 10, tzinfo=timezone.utc), float("nan"),
    float("inf"), 10**400, "nul\0", "\ud800", (1, 2), {1, 2},
    [1.0, 0.5], [float(np.float32(0.1)), float(np.float32(0.2))], {"x": 1}, ["a", None], [1, 2.5],
    {}, [], [True], ["a"] * 200,
]  # fmt: skip
FIELDS = [
    "meta.a", "meta.b", "a", "meta.a.x", "meta.x.y", "x.y", 'meta.q"', "meta.", "meta", "content",
    "id", "embedding", "blob", "score", "content.x", "nothing", "meta.id", "meta.content", "$id",
    "meta.$a", "meta.a\\.x", "sparse_embedding", "meta._haystack",
]  # fmt: skip
ORDERED = [None, *DATES, *NUMBERS, datetime(2024, 5, 1, 10), float("inf"), float("nan"), 10**400]


def value(rng, depth=0):
    """A value that JSON has."""
    kind = rng.random()
    if depth > 1 or kind < 0.8:
        return rng.choice(SCALARS)
    if kind < 0.9:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 2))]
    return {key: value(rng, depth + 1) for key in rng.sample("xy", rng.randint(0, 2))}


def some_documents(rng, n):
    """Documents of all kinds, some with ids and texts that are dates."""
    keys = ["a", "b", "x.y", 'q"', "id", "content", "", "$a"]
    return [
        Document(
            id=DATES[i] if i < 3 else f"id-{i}",
            content=rng.choice([None, *TEXTS, *DATES]),
            meta={key: value(rng) for key in rng.sample(keys, rng.randint(0, 4))},
            embedding=rng.choice([None, [1.0, 0.5], [0.1, 0.2]]),
            blob=ByteStream(b"\0", mime_type="x") if i % 9 == 0 else None,
            sparse_embedding=SparseEmbedding([1], [0.5]) if i % 10 == 0 else None,
            score=0.5 if i % 7 == 0 else None,
        )
        for i in range(n)
    ]


def some_filter(rng, depth=0):
    """A filter that can be understood."""
    if depth < 3 and rng.random() < 0.4:
        parts = [some_filter(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        return {"operator": rng.choice(["AND", "OR", "NOT"]), "conditions": parts}
    operator = rng.choice(["==", "!=", "in", "not in", ">", ">=", "<", "<="])
    anything = rng.choice([value(rng), rng.choice(ODD)])
    if "in" in operator:
        anything = [rng.choice([value(rng), rng.choice(ODD)]) for _ in range(rng.randint(0, 3))]
    elif "=" not in operator or operator in ("<=", ">="):
        anything = rng.choice(ORDERED)
    return {"field": rng.choice(FIELDS), "operator": operator, "value": anything}


def meant(asked, document):
    """What Haystack says; of a single comparison that it cannot make: no."""
    if "field" in asked:
        try:
            return document_matches_filter(asked, document)
        except (FilterError, TypeError):
            return asked["operator"] in ("!=", "not in")
    parts = [meant(one, document) for one in asked["conditions"]]
    return {"AND": all(parts), "OR": any(parts), "NOT": not all(parts)}[asked["operator"]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters")
    if request.param == "sqlite":
        location = folder / "a.db"
    else:
        location = request.getfixturevalue("postgres_url")
    with requant.open(location, folder=folder) as opened:
        yield opened
        if "haystack" in opened.collections():
            opened.drop_collection("haystack")


@pytest.fixture(scope="module")
def filled(database):
    """A store and what is in it."""
    store = RequantDocumentStore(database, embedding_dim=2, engine=None)
    written = some_documents(Random(5), 80)
    store.write_documents(written)
    return store, written


def test_what_is_written_comes_back(filled):
    store, written = filled
    stored = store.filter_documents()
    for one, other in zip(stored, written, strict=True):
        told, wanted = one.to_dict(flatten=False), other.to_dict(flatten=False)
        vectors = [told.pop("embedding"), wanted.pop("embedding")]
        assert json.dumps(told) == json.dumps(wanted)  # 1, 1.0 and True are told apart
        assert vectors[0] == (vectors[1] and np.asarray(vectors[1], np.float32).tolist())


@pytest.mark.parametrize("seed", range(8))
def test_filters_find_what_haystack_finds(filled, seed):
    rng, (store, _) = Random(seed), filled
    stored = store.filter_documents()
    for round in range(60):
        asked = some_filter(rng)
        wanted = [document.id for document in stored if meant(asked, document)]
        assert [found.id for found in store.filter_documents(asked)] == wanted, asked
        if round % 4:
            continue
        assert store.count_documents_by_filter(asked) == len(wanted)
        near = store.embedding_retrieval([1.0, 0.2], asked, top_k=100)
        with_vectors = {document.id for document in stored if document.embedding}
        assert {found.id for found in near} == with_vectors & set(wanted), asked


def ids(store, field, operator, value):
    asked = {"field": field, "operator": operator, "value": value}
    return [found.id for found in store.filter_documents(asked)]


def test_only_iso_8601_is_a_date():
    store = RequantDocumentStore(embedding_dim=2)
    texts = ["1", "2024", "2024-05", "May 3, 2024", "2024124"]
    forms = ["20240503", "2024-05-03", "2024-W18-5", "2024W185", "2024-124", "2024-05-02T24:00"]
    days = ["2024-W18-6T10:00:00+02:00", "2024-05-04", "2024-W19", "2025-W01-1", "2025-366"]
    store.write_documents([Document(id=one, meta={"at": one}) for one in (*texts, *forms, *days)])
    assert ids(store, "meta.at", "==", "2024-05-03T00:00:00+00:00") == [forms[1], forms[5]]
    assert ids(store, "meta.at", "==", "2024-W18-5") == ["2024-W18-5"]  # a text, as to Haystack
    assert ids(store, "meta.at", "==", "2024") == ["2024"]
    for day in forms:
        assert ids(store, "meta.at", "<=", day) == forms, day
        assert ids(store, "meta.at", ">", day) == days[:4], day
    # The first day of the year 2025 in weeks is in December.
    for day in ("2024-12-30", "2025-W01-1", "20241230", "2024-365"):
        assert ids(store, "meta.at", ">=", day) == ["2025-W01-1"], day
    for text in (*texts, "2025-366", "2024-W60-1", "", "soon"):
        with pytest.raises(FilterError, match="ISO 8601"):
            ids(store, "meta.at", ">", text)


def test_values_of_numpy():
    store = RequantDocumentStore(embedding_dim=2)
    store.write_documents([Document(id="a", meta={"n": 1, "of": [1, 2]}, embedding=[0.1, 2])])
    for field, value in [
        ("meta.n", np.int64(1)), ("meta.n", np.float32(1)), ("meta.of", np.array([1, 2])),
        ("embedding", np.array([0.1, 2])), ("embedding", [0.1, 2.0]),
    ]:  # fmt: skip
        assert ids(store, field, "==", value) == ["a"]
        assert ids(store, field, "!=", value) == []
    assert ids(store, "meta.n", "in", [np.int64(7), np.int64(1)]) == ["a"]
    assert ids(store, "meta.n", ">=", np.float32(0.5)) == ["a"]


def test_dates_of_an_indexed_field():
    store = RequantDocumentStore(embedding_dim=2)
    at = [f"2024-05-01T{hour:02}:00:00+02:00" for hour in range(24)]
    store.write_documents([Document(id=str(n), meta={"at": one}) for n, one in enumerate(at)])
    asked = {"field": "meta.at", "operator": ">=", "value": "2024-05-01T20:00:00+00:00"}
    before = store.filter_documents(asked)
    store.collection.index_field("at", kind="datetime")
    assert store.filter_documents(asked) == before
    assert [one.id for one in before] == ["22", "23"]
    assert read(asked, {"at"}).exact
    # However the time is written that is asked for.
    for late in ("2024-05-01T20Z", "2024-W18-3T20:00Z", "2024-122T20:00Z"):
        assert [*ids(store, "meta.at", ">=", late)] == ["22", "23"]
    assert ids(store, "meta.at", "==", "2024-05-01T20+00") == ["22"]


def test_many_values_of_one_field():
    store = RequantDocumentStore(embedding_dim=2)
    store.write_documents([Document(id=str(n), meta={"n": n, "t": str(n)}) for n in range(30)])
    many = [*range(20, 25_000)]
    assert len(ids(store, "meta.n", "in", many)) == 10
    assert len(ids(store, "meta.n", "not in", many)) == 20
    assert len(ids(store, "id", "in", [str(n) for n in many])) == 10
    assert len(ids(store, "meta.t", "in", [str(n) for n in many])) == 10


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"operator": "AND"}, "'conditions' is missing"),
        ({"conditions": []}, "'operator' is missing"),
        ({"field": "meta.a", "value": 1}, "'operator' is missing"),
        ({"field": "meta.a", "operator": "=="}, "'value' is missing"),
        ({"field": 7, "operator": "==", "value": 1}, "named by a text"),
        ({"field": "meta.a", "operator": "=", "value": 1}, "unknown operator '='"),
        ({"field": "meta.a", "operator": ["=="], "value": 1}, "unknown operator"),
        ({"field": "meta.a", "operator": "in", "value": (1, 2)}, "expect a list"),
        ({"field": "meta.a", "operator": ">", "value": [1]}, "compares numbers and texts"),
        ({"field": "meta.a", "operator": ">", "value": {"x": 1}}, "compares numbers and texts"),
        ({"operator": "XOR", "conditions": []}, "unknown operator 'XOR'"),
        ({"operator": "AND", "conditions": {}}, "conditions are a list"),
        ({"operator": "OR", "conditions": [7]}, "filters are a dict"),
        (7, "filters are a dict"),
    ],
)
def test_what_cannot_be_understood_is_refused(asked, told):
    store = RequantDocumentStore(embedding_dim=2)
    for documents in ([], [Document(content="a", embedding=[1.0, 0.0])]):
        store.write_documents(documents)
        for call in (
            store.filter_documents, store.delete_by_filter, store.count_documents_by_filter,
            lambda one: store.update_by_filter(one, {"a": 1}),
            lambda one: store.embedding_retrieval([1.0, 0.0], one),
            lambda one: store.count_unique_metadata_by_filter(one, ["a"]),
            lambda one: store.get_metadata_field_unique_values("a", filters=one),
        ):  # fmt: skip
            with pytest.raises(FilterError, match=told) as caught:
                call(asked)
            assert isinstance(caught.value, requant.FilterError)
    assert store.count_documents() == 1


def test_what_nests_too_deep_is_refused():
    asked = {"field": "meta.a", "operator": "==", "value": 1}
    store = RequantDocumentStore(embedding_dim=2)
    store.write_documents([Document(content="a")])
    for more, told in ((30, "20 levels"), (5000, "100 levels")):
        for _ in range(more):
            asked = {"operator": "NOT", "conditions": [asked]}
        with pytest.raises(FilterError, match=told):
            store.filter_documents(asked)


def test_deletes_and_updates_by_filter_are_what_haystack_means(filled):
    rng, (store, written) = Random(99), filled
    for _ in range(25):
        asked, meta = some_filter(rng), {"a": value(rng), "new": {"x": None}}
        before = store.filter_documents()
        wanted = [{**one.meta, **meta} if meant(asked, one) else one.meta for one in before]
        assert store.update_by_filter(asked, meta) == sum(meant(asked, one) for one in before)
        assert json.dumps([one.meta for one in store.filter_documents()]) == json.dumps(wanted)
        asked = {"operator": "AND", "conditions": [some_filter(rng), some_filter(rng, 2)]}
        gone = {one.id for one in store.filter_documents() if meant(asked, one)}
        assert store.delete_by_filter(asked) == len(gone)
        left = [one.id for one in store.filter_documents()]
        assert left == [one.id for one in before if one.id not in gone]
        store.write_documents([one for one in written if one.id in gone])
