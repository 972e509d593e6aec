"""A VectorStoreIndex, its query engine and pipelines on the store, with models that are made up."""

import asyncio
import threading

import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore

from requant.integration.llama_index import RequantVectorStore
from tests.llama_cases import one

WORDS = ["cat", "dog", "car", "boat", "tree", "rain"]


class Counting(BaseEmbedding):
    """Counts words: no two texts of these tests are equally near to a query."""

    def _get_text_embedding(self, text):
        return [text.count(word) + 0.01 * place for place, word in enumerate(WORDS)]

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


DOCUMENTS = [
    Document(
        id_=f"doc{place}",
        text=" ".join(
            f"A {word} and a {other}. It is {place}." for other in WORDS if other != word
        ),
        metadata={"about": word, "place": place},
        excluded_embed_metadata_keys=["about", "place"],
        excluded_llm_metadata_keys=["place"],
    )
    for place, word in enumerate(WORDS)
]
SPLITTER = SentenceSplitter(chunk_size=40, chunk_overlap=0)


@pytest.fixture(autouse=True)
def _no_model():
    """Let nothing ask for a model of OpenAI's."""
    before = (Settings._llm, Settings._embed_model)
    Settings.llm, Settings.embed_model = MockLLM(), Counting()
    yield
    Settings._llm, Settings._embed_model = before


def index_of(store, **options):
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex.from_documents(
        [document.model_copy() for document in DOCUMENTS],
        storage_context=context,
        transformations=[SPLITTER],
        **options,
    )


@pytest.fixture
def store(any_db):
    return RequantVectorStore(any_db)


def shown(found):
    return [(each.node.get_content(), each.node.metadata, round(each.score, 5)) for each in found]


def test_an_index_finds_what_one_of_llama_index_finds(store):
    index, right = index_of(store), index_of(SimpleVectorStore())
    for filters in (None, one("about", "!=", "cat"), one("place", ">", 2)):
        for question in ("cat and dog", "a boat in the rain", "tree tree car"):
            options = {"similarity_top_k": 4, "filters": filters}
            found = index.as_retriever(**options).retrieve(question)
            meant = right.as_retriever(**options).retrieve(question)
            scores = [each.score for each in found]
            assert scores == pytest.approx([each.score for each in meant], abs=1e-5)
            assert {each.node.ref_doc_id for each in found} <= {each.id_ for each in DOCUMENTS}


def test_a_query_engine_shows_the_model_what_was_found(store):
    answer = index_of(store).as_query_engine(similarity_top_k=2).query("cat cat dog")
    assert len(answer.source_nodes) == 2
    for each in answer.source_nodes:
        assert each.node.get_content() in str(answer)  # MockLLM says what it was told
        assert f"about: {each.node.metadata['about']}" in str(answer)
        assert "place:" not in str(answer)
        assert each.node.relationships[NodeRelationship.SOURCE].node_id == each.node.ref_doc_id


def test_a_query_engine_for_coroutines(store):
    index = index_of(store)

    async def main():
        engine = index.as_query_engine(similarity_top_k=2)
        answers = await asyncio.gather(*(engine.aquery(word) for word in WORDS))
        return [shown(answer.source_nodes) for answer in answers]

    found = asyncio.run(main())
    retriever = index.as_retriever(similarity_top_k=2)
    assert found == [shown(retriever.retrieve(word)) for word in WORDS]


def test_documents_come_go_and_change(store):
    index = index_of(store)
    many = len(store.get_nodes())
    index.insert(Document(id_="new", text="A rain of cats."))
    assert len(store.get_nodes(filters=one("doc_id", "==", "new"))) == 1
    index.update_ref_doc(Document(id_="new", text="A rain of dogs."))
    (node,) = store.get_nodes(filters=one("doc_id", "==", "new"))
    assert node.text == "A rain of dogs."
    index.delete_ref_doc("new", delete_from_docstore=True)
    index.delete_ref_doc("doc0")
    assert store.get_nodes(filters=one("ref_doc_id", "in", ["new", "doc0"])) == []
    gone = store.get_nodes(filters=one("doc_id", "==", "doc1"))
    assert 0 < len(store.get_nodes()) < many
    index.delete_nodes([node.node_id for node in gone])
    assert store.get_nodes([node.node_id for node in gone]) == []


def test_documents_are_refreshed_and_known_with_a_docstore(store):
    index = index_of(store, store_nodes_override=True)
    assert set(index.ref_doc_info) == {document.id_ for document in DOCUMENTS}
    changed = [document.model_copy() for document in DOCUMENTS]
    changed[2] = Document(id_="doc2", text="Nothing but rain.")
    fresh = Document(id_="fresh", text="A boat.")
    assert index.refresh_ref_docs([*changed, fresh]) == [
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    (node,) = store.get_nodes(filters=one("ref_doc_id", "==", "doc2"))
    assert node.text == "Nothing but rain."
    assert "fresh" in index.ref_doc_info


def test_images_and_references_come_back_through_an_index(store):
    index = VectorStoreIndex([], storage_context=StorageContext.from_defaults(vector_store=store))
    given = [
        ImageNode(id_="image", text="cat", image_path="/cat.png"),
        IndexNode(id_="reference", text="dog", index_id="other"),
        TextNode(id_="text", text="car"),
    ]
    index.insert_nodes(given)
    # The retriever of an index that has images of its own looks among these alone: LlamaIndex's.
    whole = VectorStoreIndex.from_vector_store(store)
    retrieved = whole.as_retriever(similarity_top_k=3).retrieve("cat car")
    found = {each.node.node_id: each.node for each in retrieved}
    assert isinstance(found["image"], ImageNode)
    assert found["image"].image_path == "/cat.png"
    assert found["text"] == given[2].model_copy(update={"embedding": None})
    assert isinstance(store.get_nodes(["reference"])[0], IndexNode)


def test_a_pipeline_stores_what_it_made(store):
    pipeline = IngestionPipeline(transformations=[SPLITTER, Counting()], vector_store=store)
    made = pipeline.run(documents=[document.model_copy() for document in DOCUMENTS])
    assert {node.node_id for node in store.get_nodes()} == {node.node_id for node in made}
    index = VectorStoreIndex.from_vector_store(store)
    assert index.as_retriever(similarity_top_k=1).retrieve("tree tree")[0].node.metadata["about"]


def test_a_retriever_asks_for_what_is_diverse(store):
    retriever = index_of(store).as_retriever(
        vector_store_query_mode="mmr", similarity_top_k=3,
        vector_store_kwargs={"mmr_threshold": 0.2},
    )  # fmt: skip
    found = retriever.retrieve("cat")
    assert len({each.node.node_id for each in found}) == 3


def test_an_index_answers_while_its_collection_moves(db):
    store = RequantVectorStore(db)
    engine = index_of(store).as_query_engine(similarity_top_k=2)
    before = shown(engine.query("boat").source_nodes)
    wrong, done = [], threading.Event()

    def ask():
        while not done.is_set():
            found = shown(engine.query("boat").source_nodes)
            if found != before:
                wrong.append(found)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for name, other in (("q", "qdrant"), ("l", "lancedb")):
            assert store.collection.migrate(name, engine=other, precision="int8", k=3).ok
    finally:
        done.set()
        asking.join()
    assert not wrong
    assert [index.engine for index in store.collection.indexes if index.active] == ["lancedb"]


def test_an_index_without_a_node_finds_nothing(store):
    assert VectorStoreIndex.from_vector_store(store).as_retriever().retrieve("cat") == []
