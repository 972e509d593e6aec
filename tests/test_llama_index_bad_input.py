"""What LlamaIndex's users hand in by mistake is named, and nothing of its batch is stored."""

import datetime

import numpy as np
import pytest
import sqlalchemy as sa
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

import requant
from requant.errors import (
    DimensionError,
    InputError,
    NonFiniteError,
    RequantError,
    StoreError,
    UnsupportedError,
)
from requant.integration.llama_index import ModeError, NoEmbeddingError, RequantVectorStore


def node(id="good", embedding=(1.0, 0.0), text="good", **fields):
    vector = None if embedding is None else list(embedding)
    return TextNode(id_=id, text=text, embedding=vector, **fields)


def with_vector(vector):
    made = node("bad")
    made.__dict__["embedding"] = vector  # what a model returns that LlamaIndex does not check
    return made


BAD = [
    (node("bad", None), NoEmbeddingError, "bad"),
    (node("bad", [1.0, 0.0, 0.0]), DimensionError, "3"),
    (node("bad", [float("nan"), 0.0]), NonFiniteError, "row 1"),
    (node("bad", [float("inf"), 0.0]), NonFiniteError, "row 1"),
    (node("bad", [1e39, 0.0]), NonFiniteError, "row 1"),
    (with_vector(["a", "b"]), InputError, None),
    (node("bad", text="nul\0"), InputError, "NUL"),
    (node("nul\0"), InputError, "NUL"),
    (node("bad", text="\ud800"), InputError, "row 1"),
    (node(""), InputError, None),
    (node("x" * 1_000_000), InputError, None),
    (node("bad", metadata={"tags": {"a"}}), InputError, "set"),
    (node("bad", metadata={"day": datetime.date(2024, 1, 1)}), InputError, "date"),
    (node("bad", metadata={"raw": b"x"}), InputError, "bytes"),
    (node("bad", metadata={"n": float("nan")}), InputError, "row 1"),
    (node("bad", metadata={"_node": 1}), InputError, "_node"),
    (node("bad", metadata={"text": "nul\0"}), InputError, "NUL"),
    ("no node", InputError, "no node"),
]


@pytest.mark.parametrize(("bad", "error", "part"), BAD)
@pytest.mark.parametrize("there", [True, False])
def test_a_node_that_cannot_be_stored_is_named_and_its_batch_absent(bad, error, part, there):
    store = RequantVectorStore()
    if there:
        store.add([node("before")])
    with pytest.raises(error, match=part) as caught:
        store.add([node(), bad])
    assert isinstance(caught.value, ValueError)
    assert [one.node_id for one in store.get_nodes()] == ["before"] * there
    assert store.add([node()]) == ["good"]


def test_a_first_batch_of_two_dimensions_makes_nothing():
    store = RequantVectorStore()
    with pytest.raises(DimensionError):
        store.add([node("a", [1.0, 2.0, 3.0]), node("b")])
    assert store.collection is None
    with pytest.raises(InputError):
        store.add([node("a", [])])
    assert store.add([node("b")]) == ["b"]


def test_vectors_of_another_model_are_refused():
    store = RequantVectorStore()
    store.add([node()])
    with pytest.raises(DimensionError, match="3"):
        store.add([node("b", [1.0, 2.0, 3.0])])
    with pytest.raises(DimensionError, match="3"):
        store.query(VectorStoreQuery([1.0, 2.0, 3.0]))


def test_arrays_of_a_model_are_vectors():
    store = RequantVectorStore()
    store.add([with_vector(np.array([0.5, 0.25], np.float32))])
    assert store.collection.vectors(["bad"]).tolist() == [[0.5, 0.25]]
    assert store.query(VectorStoreQuery(np.array([1.0, 0.5]))).ids == ["bad"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("mode", ["svm", "logistic_regression", "linear_regression", "sparse",
                                  "semantic_hybrid", "nonsense"])  # fmt: skip
def test_a_mode_that_is_not_there_is_named(mode, there):
    store = RequantVectorStore()
    if there:
        store.add([node()])
    known = mode != "nonsense"
    with pytest.raises(ModeError, match=mode) as caught:
        store.query(
            VectorStoreQuery([1.0, 0.0], mode=VectorStoreQueryMode(mode) if known else mode)
        )
    assert isinstance(caught.value, ValueError | UnsupportedError)
    assert "default" in str(caught.value)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("query", "options", "error", "part"),
    [
        ({"query_embedding": None}, {}, NoEmbeddingError, "query_embedding"),
        ({"mode": VectorStoreQueryMode.MMR, "query_embedding": None}, {}, NoEmbeddingError, "mmr"),
        ({}, {"nonsense": 1}, InputError, "nonsense"),
        ({}, {"oversample": 0}, InputError, "oversample"),
        ({"mode": VectorStoreQueryMode.MMR}, {"effort": -1}, InputError, "effort"),
        ({"query_embedding": [float("nan"), 0.0]}, {}, NonFiniteError, "vector"),
        ({"similarity_top_k": 10**9}, {}, InputError, "k must be"),
        ({}, {"mmr_threshold": 0.5}, InputError, "mmr_threshold"),
        ({"mode": VectorStoreQueryMode.MMR}, {"mmr_threshold": 2}, InputError, "mmr_threshold"),
        ({"mode": VectorStoreQueryMode.MMR, "mmr_threshold": -1}, {}, InputError, "threshold"),
        (
            {"mode": VectorStoreQueryMode.MMR},
            {"mmr_prefetch_k": 5, "mmr_prefetch_factor": 2},
            InputError,
            "prefetch",
        ),
        ({"mode": VectorStoreQueryMode.MMR}, {"mmr_prefetch_k": "x"}, InputError, "prefetch_k"),
        ({"output_fields": ["text"]}, {}, UnsupportedError, "output_fields"),
        ({"embedding_field": "x"}, {}, UnsupportedError, "embedding_field"),
    ],
)
def test_a_query_that_cannot_be_asked_is_named(query, options, error, part, there):
    store = RequantVectorStore()
    if there:
        store.add([node()])
    with pytest.raises(error, match=part):
        store.query(VectorStoreQuery(**{"query_embedding": [1.0, 0.0], **query}), **options)


@pytest.mark.parametrize("k", [0, -1, 1.5, None])
def test_a_number_of_results_that_is_none_is_refused(k):
    store = RequantVectorStore()
    store.add([node()])
    for mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR):
        with pytest.raises(InputError, match="similarity_top_k"):
            store.query(VectorStoreQuery([1.0, 0.0], similarity_top_k=k, mode=mode))


def test_nothing_is_deleted_by_mistake():
    store = RequantVectorStore()
    store.add([node()])
    for wrong in ({}, {"node_ids": None}, {"filters": None}):
        with pytest.raises(InputError, match="clear"):
            store.delete_nodes(**wrong)
    for wrong in (None, 7, ["doc"]):
        with pytest.raises(InputError, match="ref_doc_id"):
            store.delete(wrong)
    with pytest.raises(InputError, match="node_ids"):
        store.delete_nodes("good")
    with pytest.raises(InputError, match="node_ids"):
        store.get_nodes("good")
    with pytest.raises(InputError, match="node_ids"):
        store.query(VectorStoreQuery([1.0, 0.0], node_ids="good"))
    with pytest.raises(InputError, match="no option"):
        store.delete("good", force=True)
    assert len(store.get_nodes()) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"location": 7}, InputError),
        ({"location": ""}, InputError),
        ({"location": "nonsense://x"}, RequantError),
        ({"collection_name": "../x"}, InputError),
        ({"metric": "manhattan"}, InputError),
        ({"engine": "annoy"}, InputError),
        ({"precision": "int3"}, InputError),
        ({"nonsense": 1}, RequantError),
    ],
)
def test_a_store_that_cannot_be_is_refused_before_any_node(options, error):
    with pytest.raises(error):
        RequantVectorStore(**options)


def test_a_password_is_not_shown_and_no_file_names_what_only_the_process_knows(tmp_path):
    store = RequantVectorStore()
    store.__dict__["location"] = "postgresql://me:***@host/db"
    with pytest.raises(InputError, match="location"):
        RequantVectorStore.from_dict(store.to_dict())
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with requant.open(tmp_path / "b.db") as database:
        for owned in (engine, database):
            made = RequantVectorStore(owned)
            with pytest.raises(InputError, match="path or URL"):
                made.persist(str(tmp_path / "x"))
            with pytest.raises(InputError, match="location"):
                RequantVectorStore.from_dict(made.to_dict())
            made.close()
    engine.dispose()
    assert not (tmp_path / "x").exists()
    from requant.integration.llama_index.places import shown

    assert "secret" not in shown("postgresql+psycopg://me:secret@host/db")


def test_a_closed_store_says_so():
    store = RequantVectorStore()
    store.add([node()])
    store.close()
    store.close()
    for call in (store.get_nodes, store.clear, lambda: store.add([node()])):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_relationships_that_are_no_json_are_refused():
    store = RequantVectorStore()
    source = RelatedNodeInfo(node_id="doc", metadata={"tags": {"a"}})
    with pytest.raises(InputError, match="set"):
        store.add([node(relationships={NodeRelationship.SOURCE: source})])


@pytest.mark.parametrize("given", [None, "text", node(), {"a": node()}, 7])
def test_what_is_no_list_of_nodes(given):
    store = RequantVectorStore()
    with pytest.raises(InputError, match=f"nodes is a list .* not {type(given).__name__}"):
        store.add(given)
    assert store.collection is None


@pytest.mark.parametrize("given", [None, [1.0, 0.0], "text"])
def test_what_is_no_query(given):
    with pytest.raises(InputError, match="query is a VectorStoreQuery"):
        RequantVectorStore().query(given)
