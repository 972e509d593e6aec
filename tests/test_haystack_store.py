"""The document store of Haystack: what it keeps, what it refuses, and where it may stand."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa
from haystack.dataclasses import ByteStream, Document, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy

import requant
from requant.integration.haystack import RequantDocumentStore

ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]


def documents(n, dim=4):
    return [
        Document(id=str(i), content=f"text {i}", meta={"n": i}, embedding=[1.0, i / 256, 0.0, 0.0])
        for i in range(n)
    ]


@pytest.fixture
def store():
    with requant.open(":memory:") as database:
        yield RequantDocumentStore(database, embedding_dim=4)


def test_everything_of_a_document_comes_back(store):
    whole = Document(
        id="ключ", content="", meta={"a": [1, 1.0, True, "1", None], "b": {"c": {}}, "score": 1},
        blob=ByteStream(b"\0\xff", meta={"x": 1}, mime_type="image/png"), score=-0.5,
        embedding=[0.5, -1.0, 0.0, 2.0], sparse_embedding=SparseEmbedding([3, 9], [0.5, 1.5]),
    )  # fmt: skip
    bare = Document(id="bare")
    assert store.write_documents([whole, bare]) == 2
    assert store.filter_documents() == [whole, bare]
    assert store.collection.get(["bare"])[0].metadata == {}
    found = store.embedding_retrieval(whole.embedding, return_embedding=True)
    assert [one.score for one in found] == [1.0]
    assert found[0].blob == whole.blob
    assert found[0].embedding == whole.embedding


def test_documents_without_embeddings_are_in_no_index(store):
    store.write_documents([Document(id="a"), Document(id="b", embedding=[1.0, 0, 0, 0])])
    assert [one.id for one in store.embedding_retrieval([1.0, 0, 0, 0])] == ["b"]
    with store.collection.selected({"$has_vector": True}) as having:
        assert having.total == 1
    assert store.collection.verify().ok
    store.write_documents([Document(id="b")], DuplicatePolicy.OVERWRITE)
    assert store.embedding_retrieval([1.0, 0, 0, 0]) == []
    assert store.count_documents() == 2


@pytest.mark.parametrize("policy", [DuplicatePolicy.NONE, DuplicatePolicy.FAIL])
def test_a_batch_is_whole_or_absent(store, policy):
    store.write_documents(documents(3))
    batch = [Document(id="new"), Document(id="1")]
    with pytest.raises(DuplicateDocumentError, match="'1'"):
        store.write_documents(batch, policy)
    with pytest.raises(DuplicateDocumentError, match="row 1: id 'x' occurs twice"):
        store.write_documents([Document(id="x"), Document(id="x")], policy)
    assert store.filter_documents() == documents(3)


def test_what_becomes_of_duplicates(store):
    one, two, three = (Document(id="x", content=text) for text in ("one", "two", "three"))
    assert store.write_documents([one, two], DuplicatePolicy.SKIP) == 1
    assert store.filter_documents() == [one]
    assert store.write_documents([three, Document(id="y")], DuplicatePolicy.SKIP) == 1
    assert store.filter_documents()[0] == one
    assert store.write_documents([two, three], DuplicatePolicy.OVERWRITE) == 2
    assert store.filter_documents()[0] == three
    assert store.write_documents([], DuplicatePolicy.FAIL) == 0


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ("text", "documents must be a list of Document objects, not str"),
        (Document(id="a"), "must be a list"),
        (7, "must be a list"),
        (["text"], "row 0 is a str"),
        ([Document(id="a"), {"id": "b"}], "row 1 is a dict"),
        ([Document(id="a"), Document(id="b", embedding=[1.0, 2.0])], "row 1 .*2 dimensions.*=4"),
        ([Document(id="a", embedding=[])], "0 dimensions"),
        ([Document(id="a", embedding=[1.0, 2.0, 3.0, math.nan])], "row 0"),
        ([Document(id="a", embedding=["x"] * 4)], "vectors"),
        ([Document(id="a", content="nul\0")], "row 0 holds a NUL"),
        ([Document(id="a"), Document(id="b", meta={"k": "nul\0"})], "row 1 holds a NUL"),
        ([Document(id="nul\0")], "NUL"),
        ([Document(id="a"), Document(id="b", blob="text")], r"row 1 \('b'\).*'data'"),
        ([Document(id="a"), Document(id="b", score="best")], r"row 1 \('b'\).*'best'"),
        ([Document(id="x" * 2000)], "1024"),
        ([Document(id="a", meta={"k": {1, 2}})], "row 0 is not JSON: .*set"),
        ([Document(id="a", meta={"k": sa.func.now()})], "row 0 is not JSON"),
        ([Document(id="a", meta={"k": math.inf})], "row 0 is not JSON"),
        ([Document(id="a", meta={1: "x"})], "JSON keys are text"),
        ([Document(id="a", meta={"_haystack": 1})], "'_haystack' of meta is kept"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_row(store, batch, told):
    good = [Document(id="good", embedding=[1.0, 0, 0, 0])]
    whole = [*good, *batch] if isinstance(batch, list) else batch
    told = told.replace("row 1", "row 2").replace("row 0", "row 1")
    for policy in DuplicatePolicy:
        with pytest.raises(DocumentStoreError, match=told) as caught:
            store.write_documents(whole, policy)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, requant.RequantError)
    assert store.count_documents() == 0


def test_a_policy_that_is_none(store):
    with pytest.raises(DocumentStoreError, match="DuplicatePolicy"):
        store.write_documents(documents(1), "overwrite")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ([1.0, 2.0], "2 dimensions, the store has embedding_dim=4"),
        ([], "0 dimensions"),
        ("text", "list of floats, not str"),
        (None, "list of floats, not NoneType"),
        ([1.0, 2.0, 3.0, math.nan], "finite|NaN|nan"),
        (["a", "b", "c", "d"], "vector"),
    ],
)
def test_a_query_that_is_no_embedding(store, query, told):
    store.write_documents(documents(2))
    with pytest.raises(DocumentStoreError, match=told):
        store.embedding_retrieval(query)


def test_how_many_are_asked_for(store):
    store.write_documents(documents(20))
    near = [1.0, 0, 0, 0]
    assert store.embedding_retrieval(near, top_k=0) == []
    assert len(store.embedding_retrieval(near)) == 10
    assert len(store.embedding_retrieval(near, top_k=1000)) == 20
    for wrong in (-1, 1.5, "3", True, None):
        with pytest.raises(DocumentStoreError, match="top_k is a whole number"):
            store.embedding_retrieval(near, top_k=wrong)


def test_an_empty_store():
    store = RequantDocumentStore(embedding_dim=4)
    asked = {"field": "meta.n", "operator": "==", "value": 1}
    assert store.embedding_retrieval([1.0, 0, 0, 0]) == store.filter_documents() == []
    assert store.delete_by_filter(asked) == store.update_by_filter(asked, {"a": 1}) == 0
    store.delete_documents(["a"])
    store.delete_all_documents()
    assert store.get_metadata_fields_info() == {}
    with requant.open(":memory:") as database:
        RequantDocumentStore(database)
        assert database.collections() == []  # not before something is written


@pytest.mark.parametrize("similarity", ["cosine", "dot_product", "l2"])
def test_scores_are_those_of_haystacks_own_store(similarity):
    mine = RequantDocumentStore(embedding_dim=4, similarity=similarity, precision="binary")
    mine.write_documents(documents(30))
    query = [0.3, 2.0, 0.1, -1.0]
    for scale in (False, True):
        found = mine.embedding_retrieval(query, scale_score=scale, top_k=30)
        if similarity == "l2":
            distances = [math.dist(query, one.embedding) for one in documents(30)]
            wanted = [1 / (1 + one) if scale else -one * one for one in sorted(distances)]
        else:
            theirs = InMemoryDocumentStore(embedding_similarity_function=similarity)
            theirs.write_documents(documents(30))
            wanted = [one.score for one in theirs.embedding_retrieval(
                query, scale_score=scale, top_k=30)]  # fmt: skip
        assert [one.score for one in found] == pytest.approx(wanted, abs=1e-6)
        if scale:
            assert all(0 <= one.score <= 1 for one in found)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_filters_return_all_that_was_asked_for(tmp_path, engine, precision):
    store = RequantDocumentStore(
        tmp_path / "a.db", embedding_dim=4, engine=engine, precision=precision
    )
    store.write_documents(documents(300))
    store.collection.flush()
    rare = {"field": "meta.n", "operator": "in", "value": [7, 100, 250, 299]}
    found = store.embedding_retrieval([1.0, 1.0, 0, 0], rare)
    assert [one.id for one in found] == ["250", "299", "100", "7"]
    assert store.delete_by_filter(rare) == 4
    assert store.embedding_retrieval([1.0, 1.0, 0, 0], rare) == []
    assert store.update_by_filter(
        {"field": "id", "operator": "==", "value": "298"}, {"n": 7, "of": {"x": None}}
    ) == 1  # fmt: skip
    (found,) = store.embedding_retrieval([1.0, 1.0, 0, 0], rare)
    assert (found.id, found.meta) == ("298", {"n": 7, "of": {"x": None}})
    store.close()


def test_two_stores_share_one_file(tmp_path):
    """As indexing and query pipelines do, with an engine that opens a place only once."""
    writer = RequantDocumentStore(tmp_path / "a.db", embedding_dim=4, engine="qdrant")
    reader = RequantDocumentStore(str(tmp_path / "a.db"), embedding_dim=4, engine="qdrant")
    writer.write_documents(documents(5))
    assert [one.id for one in reader.embedding_retrieval([1.0, 0, 0, 0], top_k=1)] == ["0"]
    writer.close()
    assert reader.count_documents() == 5
    with pytest.raises(requant.StoreError, match="closed"):
        writer.count_documents()
    reader.close()


def test_what_a_collection_has_to_be(tmp_path):
    RequantDocumentStore(tmp_path / "a.db", embedding_dim=4).write_documents(documents(1))
    with pytest.raises(DocumentStoreError, match="give embedding_dim=4"):
        RequantDocumentStore(tmp_path / "a.db")
    with pytest.raises(DocumentStoreError, match="metric 'cosine'"):
        RequantDocumentStore(tmp_path / "a.db", embedding_dim=4, similarity="l2")
    with pytest.raises(DocumentStoreError, match="'cosine', 'dot_product', 'l2'"):
        RequantDocumentStore(tmp_path / "a.db", embedding_dim=4, similarity="ip")
    for dim in (0, "4", 4.0, True, None, 1 << 40):
        for place in (tmp_path / "a.db", ":memory:"):
            with pytest.raises(DocumentStoreError, match="embedding_dim is a whole number"):
                RequantDocumentStore(place, embedding_dim=dim)
    for place in (None, 7, ""):
        with pytest.raises(DocumentStoreError, match="location"):
            RequantDocumentStore(place)
    assert RequantDocumentStore(tmp_path / "a.db", embedding_dim=4).count_documents() == 1


def test_a_model_of_other_dimensions_makes_nothing():
    with requant.open(":memory:") as database:
        store = RequantDocumentStore(database)
        with pytest.raises(DocumentStoreError, match=r"4 dimensions.*embedding_dim=768"):
            store.write_documents(documents(1))
        assert database.collections() == []


def test_an_engine_that_is_none():
    with pytest.raises(requant.RequantError, match="nonesuch"):
        RequantDocumentStore(embedding_dim=4, engine="nonesuch").write_documents(documents(1))


def test_fields_are_told_apart(store):
    store.write_documents([
        Document(id=str(i), meta={"v": value, "x.y": i, "deep": {"er": value}})
        for i, value in enumerate([1, 1.0, "1", True, None, [1], [1.0], {"a": 1}, 1])
    ])  # fmt: skip
    values, total = store.get_metadata_field_unique_values("meta.v", size=100)
    assert (total, sorted(map(repr, values))) == (
        7, ["'1'", "1", "1.0", "True", "[1.0]", "[1]", "{'a': 1}"],
    )  # fmt: skip
    assert store.get_metadata_field_unique_values("deep.er")[1] == 7
    counts = store.count_unique_metadata_by_filter({}, ["v", "meta.x.y", "none"])
    assert counts == {"v": 7, "x.y": 9, "none": 0}
    assert store.get_metadata_field_min_max("x.y") == {"min": 0, "max": 8}
    assert store.get_metadata_field_min_max("v") == {"min": None, "max": None}
    types = {name: told["type"] for name, told in store.get_metadata_fields_info().items()}
    assert types == {"v": "keyword", "x.y": "int", "deep": "keyword"}
    with pytest.raises(DocumentStoreError, match="list of names"):
        store.count_unique_metadata_by_filter({}, "v")
    with pytest.raises(DocumentStoreError, match="list of names, not NoneType"):
        store.count_unique_metadata_by_filter({}, None)
    for wrong in ({"from_": -1}, {"from_": "0"}, {"size": None}):
        with pytest.raises(DocumentStoreError, match="count from 0"):
            store.get_metadata_field_unique_values("v", **wrong)


def test_bad_arguments_of_deletes_and_updates(store):
    store.write_documents(documents(2))
    for ids in ("0", None, 0):
        with pytest.raises(DocumentStoreError, match="list of ids"):
            store.delete_documents(ids)
    every = {"field": "id", "operator": "!=", "value": None}
    for meta in (None, [1], {"_haystack": 1}, {"k": {1}}, {"k": "nul\0"}, {"k": {"x": {1}}}):
        with pytest.raises(DocumentStoreError):
            store.update_by_filter(every, meta)
    assert store.filter_documents() == documents(2)
    assert store.update_by_filter(every, {}) == 2
    assert store.filter_documents() == documents(2)


def test_recreated_indexes_are_fitted_anew(store):
    store.write_documents(documents(50))
    store.embedding_retrieval([1.0, 0, 0, 0])
    store.delete_all_documents(recreate_index=True)
    store.write_documents(documents(50))
    assert len(store.embedding_retrieval([1.0, 0, 0, 0])) == 10
    assert store.collection.verify().ok


def test_changes_by_filter_touch_no_other_document(store):
    """Whatever its id: those that are asked one by one first take the turn of all who write."""
    odd = [Document(id=name, meta={"on": "2024-05-01"}) for name in ("\x01", " ", "a\nb", "💥")]
    store.write_documents(odd)
    later = {"field": "meta.on", "operator": ">", "value": "2025-01-01"}
    assert store.update_by_filter(later, {"x": 1}) == store.delete_by_filter(later) == 0
    assert store.filter_documents() == odd


def test_what_others_keep_under_the_same_key_is_told(store):
    store.collection.upsert(["a"], [[1, 0, 0, 0]], metadata=[{"_haystack": "theirs"}])
    for read in (store.filter_documents, lambda: store.embedding_retrieval([1.0, 0, 0, 0])):
        with pytest.raises(requant.RequantError, match=r"id 'a'.*'_haystack'.*rename"):
            read()
