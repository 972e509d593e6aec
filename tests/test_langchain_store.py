"""LangChain's store: what is added, deleted and found again, in both databases."""

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import sqlalchemy as sa
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps
from langchain_core.vectorstores import InMemoryVectorStore

import requant
from requant.errors import StoreError, UnknownCollectionError
from requant.integration.langchain import RequantVectorStore
from tests import inside
from tests.langchain_cases import Spoken, contents


@pytest.fixture
def store(any_db):
    with RequantVectorStore(Spoken(), any_db) as opened:
        yield opened


def test_texts_come_back_with_ids_and_metadata(store):
    ids = store.add_texts(["1 0", "0 1"], [{"n": 1}, {"n": {"deep": [1, None]}}], ids=["a", None])
    assert ids[0] == "a"
    assert len(ids[1]) == 32
    assert store.get_by_ids([ids[1], "nobody", "a"]) == [
        Document(id=ids[1], page_content="0 1", metadata={"n": {"deep": [1, None]}}),
        Document(id="a", page_content="1 0", metadata={"n": 1}),
    ]
    assert store.similarity_search("1 0.1", k=1)[0].id == "a"
    assert store.collection.metric == "cosine"
    assert [(i.engine, i.precision) for i in store.collection.indexes] == [("faiss", "int8")]


def test_what_comes_back_is_as_pydantic_makes_it(store):
    store.add_texts(["1 0"], [{"n": [1]}], ids=["a"])
    (found,), made = (
        store.similarity_search("1 0"),
        Document(id="a", page_content="1 0", metadata={"n": [1]}),
    )
    assert found == made
    assert repr(found) == repr(made)
    assert found.model_dump_json() == made.model_dump_json()
    assert found.model_fields_set == made.model_fields_set
    assert dumps(found) == dumps(made)
    assert pickle.loads(pickle.dumps(found)) == made == copy.deepcopy(found)  # noqa: S301
    found.metadata["more"] = found.id = "b"
    assert (found.id, store.get_by_ids(["a"])[0].metadata) == ("b", {"n": [1]})


def test_nothing_to_add_is_nothing(store):
    assert store.add_texts([]) == store.add_documents([]) == []
    assert store.get_by_ids(["a"]) == store.similarity_search("1 0") == []
    assert store.delete(["a"])
    assert store.delete()
    with pytest.raises(UnknownCollectionError, match="first text"):
        _ = store.collection


def test_an_id_that_is_stored_is_replaced_wholly(store):
    store.add_texts(["1 0"], [{"n": 1, "old": True}], ids=["a"])
    store.add_texts(["0 1"], ids=["a"])
    assert contents(store) == [("a", "0 1", None, [0, 1])]


def test_ids_twice_in_a_batch_are_as_in_the_reference(store):
    reference = InMemoryVectorStore(Spoken())
    documents = [
        Document(id=name, page_content=f"{row} 1", metadata={"row": row})
        for row, name in enumerate(["a", "b", "a", "c", "b", "a"])
    ]
    assert store.add_documents(documents) == reference.add_documents(documents)
    ids = list(reference.store)
    assert [row[0] for row in contents(store)] == ids
    assert store.get_by_ids(ids) == reference.get_by_ids(ids)


def test_documents_have_ids_of_their_own_unless_given(store):
    documents = [Document(id="a", page_content="1 0"), Document(page_content="0 1")]
    assert store.add_documents(documents, ids=[None, "z"]) == ["a", "z"]
    assert store.add_documents(documents, ids=["b", "z"]) == ["b", "z"]
    assert documents[1].id is None
    first, second = store.add_documents(documents)
    assert first == "a"
    assert second not in "abz"
    assert len(store.collection) == 4


def test_documents_that_are_no_texts_of_langchain(any_db):
    notes = any_db.create_collection("langchain", dim=2)
    notes.upsert([7], [[1, 0]])
    with RequantVectorStore(Spoken(), any_db) as store:
        assert store.similarity_search("1 0") == [Document(id="7", page_content="")]
        assert store.get_by_ids(["7"]) == [Document(id="7", page_content="")]


def test_delete(store):
    names = list("abcdef")
    store.add_texts([f"{n} 1" for n in range(6)], [{"n": n} for n in range(6)], ids=names)
    assert store.delete(["a", "nobody"])
    assert store.delete([])
    assert store.delete(filter={"n": {"$gte": 4}})
    assert [row[0] for row in contents(store)] == ["b", "c", "d"]
    assert [d.id for d in store.similarity_search("0 1", k=9)] == ["b", "c", "d"]
    assert store.delete()
    assert store.similarity_search("0 1") == []
    store.add_texts(["1 0"], ids=["a"])
    assert [d.id for d in store.similarity_search("0 1")] == ["a"]


def test_from_texts_and_documents(tmp_path):
    store = RequantVectorStore.from_texts(
        ["1 0", "0 1"], Spoken(), [{"n": 1}, {"n": 2}], ids=["a", "b"], location=tmp_path / "a.db",
        collection_name="own", metric="l2", engine="usearch", precision="float16",
    )  # fmt: skip
    assert contents(store) == [("a", "1 0", {"n": 1}, [1, 0]), ("b", "0 1", {"n": 2}, [0, 1])]
    assert (store.collection.name, store.collection.metric) == ("own", "l2")
    assert store.collection.indexes[0].engine == "usearch"
    store.close()
    documents = [Document(id="c", page_content="1 1"), Document(page_content="1 2")]
    with RequantVectorStore.from_documents(
        documents, Spoken(), location=tmp_path / "a.db", collection_name="own", metric="l2"
    ) as again:
        assert len(again.collection) == 4
        assert again.similarity_search("1 2.1", k=1)[0].page_content == "1 2"


def test_it_is_there_when_it_is_opened_again(tmp_path):
    with RequantVectorStore(Spoken(), tmp_path / "a.db") as store:
        store.add_texts(["1 0"], ids=["a"])
    with RequantVectorStore(Spoken(), tmp_path / "a.db") as store:
        assert store.get_by_ids(["a"])[0].page_content == "1 0"
    with pytest.raises(StoreError, match="closed"):
        store.similarity_search("1 0")


def test_locations(tmp_path, empty_postgres):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    with (
        RequantVectorStore(Spoken(), engine) as one,
        RequantVectorStore(Spoken(), engine, engine="qdrant") as two,
    ):
        one.add_texts(["1 0"], ids=["a"])
        assert two.similarity_search("1 0")[0].id == "a"
    engine.dispose()
    with RequantVectorStore(Spoken(), empty_postgres, folder=tmp_path / "indexes") as store:
        store.add_texts(["1 0"], ids=["a"])
        assert store.similarity_search("1 0")[0].id == "a"
    with pytest.raises(ValueError, match="folder"):
        RequantVectorStore(Spoken(), empty_postgres)


def test_a_store_that_nobody_holds_gives_its_database_back(tmp_path):
    store = RequantVectorStore.from_texts(["1 0"], Spoken(), location=tmp_path / "a.db")
    database = inside.door_of(store).database
    retriever = store.as_retriever()
    del store
    gc.collect()
    assert len(retriever.invoke("1 0")) == 1
    del retriever
    gc.collect()
    with pytest.raises(StoreError):
        database.collections()


def _child(store):
    store.add_texts(["0 1"], ids=["child"])
    os._exit(0 if store.similarity_search("0 1", k=1)[0].id == "child" else 1)


def test_a_forked_child_goes_on_with_the_store(tmp_path):
    with RequantVectorStore(Spoken(), tmp_path / "a.db") as store:
        store.add_texts(["1 0"], ids=["parent"])
        child = multiprocessing.get_context("fork").Process(target=_child, args=(store,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert sorted(d.id for d in store.similarity_search("1 1", k=9)) == ["child", "parent"]


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        *product(["faiss", "usearch", "qdrant", "lancedb"], ["int8", "binary"]),
        ("turbovec", "native"),
    ],
)
def test_every_engine_finds_what_exact_search_finds(tmp_path, engine, precision):
    """Of so many that the engine is asked, and candidates so many that all of them are found."""
    texts = [f"text {n}" for n in range(1500)]
    embedding = DeterministicFakeEmbedding(size=16)
    with RequantVectorStore.from_texts(
        texts, embedding, [{"n": n % 7} for n in range(1500)], location=tmp_path / "a.db",
        engine=engine, precision=precision,
    ) as store:  # fmt: skip
        vectors = np.array(embedding.embed_documents(texts))
        query = np.array(embedding.embed_query("text 700"))
        for where, rows in ((None, range(1500)), ({"n": 3}, range(3, 1500, 7))):
            of = list(rows)
            scores = vectors[of] @ query / np.linalg.norm(vectors[of], axis=1)
            best = [texts[of[row]] for row in np.argsort(-scores)[:5]]
            found = store.similarity_search("text 700", k=5, filter=where, oversample=100)
            assert [document.page_content for document in found] == best
        assert store.collection.verify().ok


def test_a_missing_langchain_is_named():
    program = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "import requant\n"
        "try:\n    import requant.integration.langchain\n"
        "except requant.PackageMissingError as error:\n    print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'requant[langchain]'" in told.stdout


def test_importing_requant_imports_no_framework():
    program = "import sys, requant, requant.integration; print('langchain_core' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"


def test_the_database_of_the_owner_stays_open(tmp_path):
    with requant.open(tmp_path / "a.db") as database:
        RequantVectorStore.from_texts(["1 0"], Spoken(), location=database).close()
        assert len(database.collection("langchain")) == 1
