"""LlamaIndex's store on every engine, beside LlamaIndex's own."""

import numpy as np
import pytest
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

import requant
from requant.integration.llama_index import RequantVectorStore
from tests.llama_cases import CASES, QUERIES, VECTORS, expected, nodes, one, reference

ENGINES = ["faiss", "usearch", "qdrant", "lancedb"]
REFERENCE = reference()


@pytest.fixture(scope="module", params=["int8", "binary"])
def precision(request):
    return request.param


@pytest.fixture(scope="module", params=ENGINES)
def store(request, precision, tmp_path_factory):
    made = RequantVectorStore(
        tmp_path_factory.mktemp("store") / "a.db", engine=request.param, precision=precision
    )
    made.add(nodes())
    yield made
    made.close()


@pytest.mark.parametrize("filters", [None, *CASES], ids=lambda one: "")
def test_a_query_answers_as_the_reference(store, filters):
    meant = set(REFERENCE.data.metadata_dict) if filters is None else expected(filters, REFERENCE)
    for query in QUERIES:
        _same(store, VectorStoreQuery(query, 4, filters=filters), meant)


@pytest.mark.parametrize("threshold", [None, 0.01, 0.3, 0.9, 1.0])
def test_mmr_answers_as_the_reference(store, threshold):
    meant = set(REFERENCE.data.metadata_dict)
    for query in QUERIES:
        asked = VectorStoreQuery(query, 5, mode=VectorStoreQueryMode.MMR)
        _same(store, asked, meant, mmr_threshold=threshold)


def _same(store, query, ids, **options):
    """Ask both stores, the reference those that meet the filter, which it may not know itself."""
    found = store.query(query, **options)
    asked = VectorStoreQuery(
        query.query_embedding, query.similarity_top_k, node_ids=sorted(ids), mode=query.mode
    )
    right = REFERENCE.query(asked, **options)
    assert found.ids == [node.node_id for node in found.nodes]
    assert np.allclose(found.similarities, right.similarities, atol=1e-5)
    assert found.ids == right.ids


def test_which_mmr_chooses_from_can_be_told(store):
    everything = len(nodes())
    for query in QUERIES:
        asked = VectorStoreQuery(query, 3, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.2)
        nearest = store.query(VectorStoreQuery(query, 3)).ids
        assert set(store.query(asked, mmr_prefetch_k=3).ids) == set(nearest)
        whole = store.query(asked, mmr_prefetch_k=everything, mmr_threshold=0.2)
        assert whole.ids == store.query(asked, mmr_prefetch_factor=10).ids
        assert whole.ids == REFERENCE.query(asked, mmr_threshold=0.2).ids


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_similarities_are_exact_and_mmr_is_of_the_metric(metric):
    store = RequantVectorStore(metric=metric, precision="binary")
    store.add(nodes())
    query = np.array(QUERIES[-1])
    vectors = {node.node_id: np.array(node.get_embedding()) for node in nodes()}

    def score(one, other):
        if metric == "l2":
            return -((one - other) ** 2).sum()
        lengths = np.linalg.norm(one) * np.linalg.norm(other) if metric == "cosine" else 1
        return one @ other / lengths

    found = store.query(VectorStoreQuery(list(query), 13))
    assert np.allclose(found.similarities, [score(query, vectors[one]) for one in found.ids])
    assert found.similarities == sorted(found.similarities, reverse=True)
    diverse = store.query(VectorStoreQuery(list(query), 2, mode="mmr", mmr_threshold=0.4))
    first, second = (vectors[one] for one in diverse.ids)
    best = max(
        0.4 * score(query, vector) - 0.6 * score(vector, first)
        for vector in vectors.values()
        if vector is not first
    )
    assert np.allclose(diverse.similarities, [0.4 * score(query, first), best])
    assert np.isclose(best, 0.4 * score(query, second) - 0.6 * score(second, first))


def test_nodes_come_back_as_they_were(any_db):
    related = RelatedNodeInfo(node_id="doc", node_type=ObjectType.DOCUMENT, metadata={"p": 1})
    given = [
        TextNode(id_="plain", text="plain"),
        TextNode(
            id_="full",
            text="  text with {braces}\nand lines ",
            metadata={"n": 1, "f": 1.5, "l": ["a", 2, None], "o": {"x": {"y": True}}, "": "e"},
            excluded_embed_metadata_keys=["n"],
            excluded_llm_metadata_keys=["f"],
            metadata_template="{key}={value}",
            metadata_separator=" | ",
            text_template="{content}--{metadata_str}",
            mimetype="text/x",
            start_char_idx=0,
            end_char_idx=7,
            relationships={
                NodeRelationship.SOURCE: related,
                NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id="before", hash="h"),
                NodeRelationship.NEXT: RelatedNodeInfo(node_id="after", node_type="1"),
                NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), related],
            },
        ),
        ImageNode(id_="image", text="a cat", image="AAAA", image_path="/c.png", metadata={"n": 2}),
        IndexNode(id_="index", text="an index", index_id="other", obj=TextNode(id_="in", text="t")),
        Node(id_="media", text_resource=MediaResource(text="words"), metadata={"n": 3}),
        Document(id_="document", text="whole", metadata={"n": 4}, relationships={"1": related}),
    ]
    for place, node in enumerate(given):
        node.embedding = [float(place), 1.0]
    store = RequantVectorStore(any_db)
    assert store.add(given) == [node.node_id for node in given]
    found = {node.node_id: node for node in store.get_nodes()}
    asked = store.query(VectorStoreQuery([1.0, 1.0], 10)).nodes
    assert {node.node_id: node for node in asked} == found
    for node in given:
        bare = node.model_copy(update={"embedding": None})
        assert type(found[node.node_id]) is type(node)
        assert found[node.node_id] == bare
        assert found[node.node_id].hash == bare.hash
        assert found[node.node_id].ref_doc_id == bare.ref_doc_id
    assert store.get_nodes(["media", "nowhere", "plain"]) == [found["media"], found["plain"]]
    assert store.get_nodes([]) == []


def test_what_is_added_again_is_replaced_and_the_last_of_two_counts():
    store = RequantVectorStore()
    node = TextNode(id_="a", text="one", embedding=[1.0, 0.0], metadata={"old": True})
    other = TextNode(id_="a", text="two", embedding=[0.0, 1.0])
    store.add([node])
    assert store.add([node, other]) == ["a", "a"]
    assert [(each.text, each.metadata) for each in store.get_nodes()] == [("two", {})]
    assert store.query(VectorStoreQuery([0.0, 1.0])).similarities == [1.0]


def test_nodes_are_deleted_by_document_id_and_filter(any_db):
    def left():
        return {node.node_id for node in store.get_nodes()}

    store, reference = RequantVectorStore(any_db), SimpleVectorStore()
    for each in (store, reference):
        each.delete("doc1")
        each.delete_nodes(["n1"])
        each.add(nodes())
        each.delete("doc1")
        each.delete("nowhere")
        each.delete_nodes(["n2", "nowhere"])
        each.delete_nodes([])
        each.delete_nodes(["n3", "n4"], one("lang", "==", "fr"))
        each.delete_nodes(filters=one("year", "==", 10**15))
        if each is store:
            assert left() == {f"n{place}" for place in (0, 3, 6, 7, 8, 10, 11, 12)}
        each.delete("None")
    assert left() == set() | {"n3", "n6", "n7", "n10", "n11"}
    store.clear()
    assert left() == set()
    assert store.query(VectorStoreQuery([1.0] * 8)).ids == []
    store.add(nodes())
    assert len(left()) == 13


def test_an_empty_store_answers_nothing():
    store = RequantVectorStore()
    assert store
    for mode in ("default", "mmr"):
        found = store.query(VectorStoreQuery([1.0, 0.0], 3, mode=VectorStoreQueryMode(mode)))
        assert (found.nodes, found.ids, found.similarities) == ([], [], [])
    assert store.get_nodes() == store.add([]) == []
    store.clear()
    assert store.collection is None


def test_two_stores_at_one_place_share_it(tmp_path):
    one = RequantVectorStore(tmp_path / "a.db", engine="qdrant")
    two = RequantVectorStore(str(tmp_path / "a.db"), engine="qdrant")
    one.add(nodes())
    assert len(two.get_nodes()) == 13
    one.close()
    assert two.query(VectorStoreQuery(VECTORS[0].tolist())).ids == ["n0"]
    two.close()
    with pytest.raises(requant.errors.StoreError, match="closed"):
        two.get_nodes()


def test_a_store_goes_on_while_its_collection_moves_to_another_engine(tmp_path):
    store = RequantVectorStore(tmp_path / "a.db")
    store.add(nodes())
    before = store.query(VectorStoreQuery(QUERIES[0], 5))
    assert store.collection.migrate("other", engine="usearch", precision="binary", k=3).ok
    after = store.query(VectorStoreQuery(QUERIES[0], 5))
    assert (after.ids, after.similarities) == (before.ids, before.similarities)
    again = RequantVectorStore(tmp_path / "a.db")
    assert [index.name for index in again.collection.indexes if index.active] == ["other"]


def test_what_others_stored_in_the_collection_comes_as_text_nodes(db):
    notes = db.create_collection("notes", dim=2)
    notes.upsert([7, "a"], [[1, 0], [0, 1]], documents=["seven", None], metadata=[{"n": 1}, None])
    store = RequantVectorStore(db, collection_name="notes")
    found = store.query(VectorStoreQuery([1.0, 0.0], 2))
    assert found.nodes == [TextNode(id_="7", text="seven", metadata={"n": 1}), TextNode(id_="a")]
    assert [node.node_id for node in store.get_nodes(["7"])] == ["7"]
    assert [node.node_id for node in store.get_nodes(filters=one("n", "==", 1))] == ["7"]
