"""A document store whose collection another process drops, and perhaps makes anew."""

import os
import subprocess
import sys

import pytest
from haystack.dataclasses import Document
from haystack.document_stores.errors import DocumentStoreError

import requant
from requant.integration.haystack import RequantDocumentStore

DROPS = """
import sys, requant
with requant.open("a.db") as database:
    database.drop_collection("haystack")
    if dim := int(sys.argv[1]):
        made = database.create_collection("haystack", dim)
        made.upsert(["new"], [[1.0] * dim], ["new words"], [{"n": 7}])
"""
IS_7 = {"field": "meta.n", "operator": "==", "value": 7}
IN_TIME = {"field": "meta.n", "operator": ">", "value": "2024-01-01"}  # asked one by one
QUERY = [1.0, 1.0]
# What each answers where there is the one new document, and where there is no collection.
ASKED = {
    "count": (lambda store: store.count_documents(), 1, 0),
    "filter": (lambda store: [one.id for one in store.filter_documents()], ["new"], []),
    "search": (lambda store: [one.id for one in store.embedding_retrieval(QUERY)], ["new"], []),
    "hybrid": (lambda store: len(store.hybrid_retrieval("words", QUERY)), 1, 0),
    "count_by": (lambda store: store.count_documents_by_filter(IS_7), 1, 0),
    "values": (lambda store: store.get_metadata_field_unique_values("n"), ([7], 1), ([], 0)),
    "update": (lambda store: store.update_by_filter(IS_7, {"m": 1}), 1, 0),
    "in time": (lambda store: store.update_by_filter(IN_TIME, {"m": 1}), 0, 0),
    "delete_by": (lambda store: store.delete_by_filter(IS_7), 1, 0),
    "delete": (lambda store: store.delete_documents(["new"]), None, None),
    "clear": (lambda store: store.delete_all_documents(recreate_index=True), None, None),
    "write": (lambda store: store.write_documents([Document(id="b", embedding=QUERY)]), 1, 1),
}  # fmt: skip


def _dropped(folder, dim):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", DROPS, str(dim)]
    subprocess.run(program, cwd=folder, env=environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Stores that have used their collection before another process drops and remakes it."""
    stores = {}
    for dim in (2, 0):
        folder = tmp_path_factory.mktemp(f"dropped{dim}")
        stores[dim] = [RequantDocumentStore(folder / "a.db", embedding_dim=2) for _ in ASKED]
        for number, store in enumerate(stores[dim]):
            if not number:
                store.write_documents([Document(id="old", embedding=QUERY)])
            assert store.count_documents() == 1
        _dropped(folder, dim)
    yield stores
    for every in stores.values():
        for store in every:
            store.close()


@pytest.mark.parametrize("dim", [2, 0], ids=["remade", "dropped"])
@pytest.mark.parametrize("name", ASKED)
def test_the_collection_that_is_there_now_answers(opened, name, dim):
    work, remade, nothing = ASKED[name]
    assert work(opened[dim][list(ASKED).index(name)]) == (remade if dim else nothing)


def test_one_of_other_dimensions_is_told(tmp_path):
    store = RequantDocumentStore(tmp_path / "a.db", embedding_dim=2)
    store.write_documents([Document(id="old", embedding=QUERY)])
    _dropped(tmp_path, 3)
    for work in (ASKED["search"][0], ASKED["write"][0]):
        with pytest.raises(DocumentStoreError, match="give embedding_dim=3"):
            work(store)
    with requant.open(tmp_path / "a.db") as database:
        assert database.collection("haystack").ids() == ["new"]
    store.close()
