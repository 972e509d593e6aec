"""Stores of others, as they were recorded, become one of requant, or nothing does."""

import asyncio
import threading

import faiss
import numpy as np
import pytest

import requant
from requant.errors import ExistsError, IndexWarning, InputError, RequantError
from requant.integration.errors import SourceError
from requant.integration.langchain import RequantVectorStore
from tests import inside
from tests.foreign_cases import unpack
from tests.langchain_cases import Returns, Spoken

CASES = [
    ("langchain_faiss", "", "l2"),
    ("langchain_normalised", "", "l2"),
    ("chroma", "notes-cosine", "cosine"),
    ("chroma", "notes-ip", "ip"),
    ("txtai_content", "", "cosine"),
]


@pytest.mark.filterwarnings("ignore:.*1 of 32 items came without a text:UserWarning")
@pytest.mark.parametrize(("case", "collection", "metric"), CASES)
def test_everything_is_there(tmp_path, case, collection, metric):
    folder, expected = unpack(case, tmp_path)
    expected = expected[collection] if collection else expected
    ids, vectors = expected["ids"], np.array(expected["vectors"], np.float32)
    with RequantVectorStore.from_existing(
        folder / collection, Returns(vectors[2]), location=tmp_path / "a.db", engine="usearch"
    ) as store:
        assert store.collection.metric == metric
        assert [index.engine for index in store.collection.indexes] == ["usearch"]
        found = store.get_by_ids(list(map(str, ids)))
        assert [d.id for d in found] == list(map(str, ids))
        assert [d.page_content for d in found] == [text or "" for text in expected["documents"]]
        assert [d.metadata for d in found] == [entry or {} for entry in expected["metadata"]]
        # Chroma multiplies what it had normalised, which changes the last bit.
        assert np.allclose(store.collection.vectors(ids), vectors, rtol=1e-6, atol=0)
        assert store.similarity_search("what", k=len(ids))
        assert store.collection.stats().origins[0].fidelity in ("exact", "normalised")


def test_the_metric_may_be_another(tmp_path):
    folder, _ = unpack("langchain_normalised", tmp_path)
    with RequantVectorStore.from_existing(folder, Spoken(), metric="cosine") as store:
        assert store.collection.metric == "cosine"


def test_a_collection_that_is_there_stays_as_it_is(tmp_path):
    folder, _ = unpack("langchain_faiss", tmp_path)
    with requant.open(tmp_path / "a.db") as database:
        notes = database.create_collection("langchain", dim=2, metric="l2")
        notes.upsert(["a"], [[1, 0]])
        with pytest.raises(ExistsError, match="collection_name"):
            RequantVectorStore.from_existing(folder, Spoken(), location=database)
        assert notes.ids() == ["a"]


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (None, InputError, "the place where a store is kept"),
        (Spoken(), InputError, "Spoken"),
        ("nowhere", SourceError, "nowhere"),
        ("http://127.0.0.1:9/collections/x", RequantError, "127.0.0.1:9"),
        ("columns.npy", SourceError, "import_items"),
    ],
)
def test_a_source_that_is_none(tmp_path, monkeypatch, source, error, said):
    monkeypatch.chdir(tmp_path)
    np.save("columns.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(error, match=said):
        RequantVectorStore.from_existing(source, Spoken(), location="a.db")
    assert not (tmp_path / "a.db").exists()


def test_an_import_that_fails_leaves_nothing(tmp_path, monkeypatch):
    folder, _ = unpack("langchain_faiss", tmp_path)
    monkeypatch.setattr(inside.LANGCHAIN_BATCH, 5)
    stored = []

    def fails(self, *given, **named):
        if len(stored) == 3:
            raise requant.StoreError("the disk is full")
        stored.append(self)
        return upsert(self, *given, **named)

    upsert = requant.Collection.upsert
    with requant.open(tmp_path / "a.db") as database:
        monkeypatch.setattr(requant.Collection, "upsert", fails)
        with pytest.raises(requant.StoreError, match="full"):
            RequantVectorStore.from_existing(folder, Spoken(), location=database)
        assert (len(stored), database.collections()) == (3, [])
        monkeypatch.undo()
        store = RequantVectorStore.from_existing(folder, Spoken(), location=database)
        assert len(store.collection) == 27


def test_a_cancelled_import_leaves_nothing(tmp_path, monkeypatch):
    folder, _ = unpack("langchain_faiss", tmp_path)
    monkeypatch.setattr(inside.LANGCHAIN_BATCH, 5)
    begun, go_on = threading.Event(), threading.Event()

    def waits(self, *given, **named):
        begun.set()
        go_on.wait(60)
        return upsert(self, *given, **named)

    upsert = requant.Collection.upsert
    monkeypatch.setattr(requant.Collection, "upsert", waits)

    async def main(database):
        task = asyncio.ensure_future(
            RequantVectorStore.afrom_existing(folder, Spoken(), location=database)
        )
        while not begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert database.collections() == []
        store = await RequantVectorStore.afrom_existing(folder, Spoken(), location=database)
        assert len(store.collection) == 27

    with requant.open(tmp_path / "a.db") as database:
        asyncio.run(main(database))


def test_vectors_that_were_not_kept_are_told(tmp_path):
    index = faiss.index_factory(8, "SQ4")
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    index.train(rows)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    with pytest.warns(IndexWarning) as told:
        store = RequantVectorStore.from_existing(tmp_path / "x.faiss", Spoken())
    lossy, bare = (str(one.message) for one in told)
    assert "not kept vectors as they were embedded" in lossy
    assert "50 of 50 items" in bare
    assert [d.id for d in store.get_by_ids(["0", "49"])] == ["0", "49"]
    store.close()
