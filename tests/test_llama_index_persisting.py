"""What StorageContext.persist keeps of a store, and how it is opened again."""

import pickle
import subprocess
import sys
import textwrap

import fsspec
import pytest
import sqlalchemy as sa
from llama_index.core import (
    MockEmbedding,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery

import requant
from requant.errors import CorruptDataError, ExistsError, InputError
from requant.integration.llama_index import RequantVectorStore
from tests.llama_cases import QUERIES, nodes

ASKED = VectorStoreQuery(QUERIES[0], 5)


def test_a_store_in_a_file_is_found_again(tmp_path):
    store = RequantVectorStore(
        tmp_path / "a.db", collection_name="mine", engine="usearch", precision="binary", bits=3
    )
    store.add(nodes())
    before = store.query(ASKED)
    context = StorageContext.from_defaults(vector_store=store)
    context.persist(str(tmp_path / "kept"))
    store.close()
    again = RequantVectorStore.from_persist_dir(str(tmp_path / "kept"))
    assert again.query(ASKED) == before
    assert (again.engine, again.index, again.collection_name) == ("usearch", {"bits": 3}, "mine")
    again.close()
    for name in ("a.db", "a.db.indexes"):
        (tmp_path / name).rename(tmp_path / name.replace("a.", "b."))
    for place in (None, tmp_path / "typo.db"):
        with pytest.raises(InputError, match="not there, which holds the nodes"):
            RequantVectorStore.from_persist_dir(str(tmp_path / "kept"), location=place)
        assert not (place or tmp_path / "a.db").exists()  # no empty one in its place
    moved = RequantVectorStore.from_persist_dir(str(tmp_path / "kept"), location=tmp_path / "b.db")
    assert moved.query(ASKED) == before
    moved.close()


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_store_in_memory_is_kept_whole(tmp_path, where):
    store = RequantVectorStore()
    store.add(nodes())
    path = str(tmp_path / "deep" / "default__vector_store.json")
    for _ in range(2):  # the second replaces the first
        store.persist(path)
    before = store.query(ASKED)
    store.close()
    place = None if where == "memory" else tmp_path / "a.db"
    again = RequantVectorStore.from_persist_path(path, location=place)
    assert again.query(ASKED) == before
    assert [node.node_id for node in again.get_nodes()] == [node.node_id for node in nodes()]
    assert [index.engine for index in again.collection.indexes] == ["faiss"]
    again.delete("doc1")
    assert len(again.get_nodes()) == 10
    if where == "file":
        with pytest.raises(ExistsError, match="10 nodes"):
            RequantVectorStore.from_persist_path(path, location=place)
    again.close()


def test_an_empty_store_in_memory_is_kept(tmp_path):
    path = str(tmp_path / "x")
    RequantVectorStore(metric="l2").persist(path)
    again = RequantVectorStore.from_persist_path(path)
    assert (again.metric, again.collection) == ("l2", None)


def test_other_file_systems(tmp_path):
    store, fs = RequantVectorStore(), fsspec.filesystem("memory")
    store.add(nodes())
    StorageContext.from_defaults(vector_store=store).persist("/kept", fs=fs)
    again = RequantVectorStore.from_persist_dir("/kept", fs=fs)
    assert again.query(ASKED) == store.query(ASKED)


def test_llama_index_does_not_take_it_for_an_empty_store(tmp_path):
    for store in (RequantVectorStore(), RequantVectorStore(tmp_path / "a.db")):
        store.add(nodes())
        path = str(tmp_path / "default__vector_store.json")
        store.persist(path)
        with pytest.raises((ValueError, AttributeError, TypeError)):
            SimpleVectorStore.from_persist_path(path)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        RequantVectorStore.from_persist_path(str(tmp_path / "nothing"))
    simple = SimpleVectorStore()
    simple.add(nodes())
    simple.persist(str(tmp_path / "simple"))
    (tmp_path / "damaged").write_bytes(b"\0\1")
    for name in ("simple", "damaged"):
        with pytest.raises(CorruptDataError, match="from_existing"):
            RequantVectorStore.from_persist_path(str(tmp_path / name))
    store = RequantVectorStore()
    store.add(nodes())
    store.persist(str(tmp_path / "cut"))
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    with pytest.raises(CorruptDataError, match="/cut is damaged"):
        RequantVectorStore.from_persist_path(str(tmp_path / "cut"))


def test_what_describes_a_store_opens_it(tmp_path):
    store = RequantVectorStore(tmp_path / "a.db", engine="usearch", bits=2, precision="binary")
    store.add(nodes())
    for again in (
        RequantVectorStore.from_dict(store.to_dict()),
        RequantVectorStore.from_json(store.to_json()),
        pickle.loads(pickle.dumps(store)),  # noqa: S301
    ):
        assert again.query(ASKED) == store.query(ASKED)
        assert again.to_dict() == store.to_dict()
        again.close()
    memory = RequantVectorStore()
    memory.add(nodes())
    with pytest.raises(requant.errors.UnsupportedError, match="memory"):
        pickle.dumps(memory)


def test_an_index_is_loaded_in_another_process(tmp_path, empty_postgres):
    program = textwrap.dedent(
        """
        import sys
        from llama_index.core import MockEmbedding, StorageContext, load_index_from_storage
        from llama_index.core.embeddings import BaseEmbedding
        from requant.integration.llama_index import RequantVectorStore

        store = RequantVectorStore.from_persist_dir(sys.argv[1], location=sys.argv[2] or None)
        context = StorageContext.from_defaults(vector_store=store, persist_dir=sys.argv[1])
        index = load_index_from_storage(context, embed_model=MockEmbedding(4))
        print(sorted(found.node.text for found in index.as_retriever().retrieve("x")))
        """
    )
    for place in (tmp_path / "a.db", empty_postgres):
        store = RequantVectorStore(place, folder=tmp_path / "indexes")
        context = StorageContext.from_defaults(vector_store=store)
        index = VectorStoreIndex([], storage_context=context, embed_model=MockEmbedding(4))
        index.insert_nodes([TextNode(text="one"), TextNode(text="two")])
        kept = str(tmp_path / f"kept{len(str(place))}")
        index.storage_context.persist(kept)
        store.close()
        there = sa.make_url(str(place)).password if place == empty_postgres else None
        arguments = [kept, str(place) if there else ""]
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", program, *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == "['one', 'two']", done.stderr


def test_load_index_from_storage_here(tmp_path):
    store = RequantVectorStore(tmp_path / "a.db")
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex([], storage_context=context, embed_model=MockEmbedding(4))
    index.insert_nodes([TextNode(text="one")])
    index.storage_context.persist(str(tmp_path / "kept"))
    context = StorageContext.from_defaults(
        vector_store=RequantVectorStore.from_persist_dir(str(tmp_path / "kept")),
        persist_dir=str(tmp_path / "kept"),
    )
    again = load_index_from_storage(context, embed_model=MockEmbedding(4))
    assert [found.node.text for found in again.as_retriever().retrieve("x")] == ["one"]
