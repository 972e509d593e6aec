"""Stores of others become a RequantDocumentStore in one call; the guide and its script run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from haystack import Document
from haystack.document_stores.errors import DocumentStoreError
from haystack.document_stores.in_memory import InMemoryDocumentStore

import requant
from requant.errors import IndexWarning
from requant.integration.haystack import RequantDocumentStore
from tests.foreign_cases import unpack

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("case", ["haystack_memory", "haystack_faiss", "chroma"])
def test_what_others_have_written_is_opened(tmp_path, case):
    source, expected = unpack(case, tmp_path)
    if case == "chroma":
        source, expected = source / "notes-cosine", expected["notes-cosine"]
    told = nullcontext()
    if case == "chroma":
        told = pytest.warns(IndexWarning, match="without a text .'bare'")
    with told:
        store = RequantDocumentStore.from_existing(source, tmp_path / "a.db", engine="usearch")
    stored = {one.id: one for one in store.filter_documents()}
    assert sorted(stored) == sorted(expected["ids"])
    metric = {"cosine": "cosine", "dot_product": "ip", "l2": "l2"}[store.similarity]
    assert store.collection.metric == metric
    for name, vector, text in zip(
        expected["ids"], expected["vectors"], expected["documents"], strict=True
    ):
        assert stored[name].content == text
        # Not bit by bit: of Chroma's cosine collections the reader gets them rescaled.
        assert stored[name].embedding == (vector and pytest.approx(vector, abs=1e-6))
        if vector is not None and any(vector):
            found = store.embedding_retrieval(vector, top_k=len(stored))
            assert name in [one.id for one in found]
    store.close()
    again = RequantDocumentStore(
        tmp_path / "a.db", embedding_dim=store.embedding_dim, similarity=store.similarity
    )
    assert again.count_documents() == len(stored)
    again.close()


@pytest.mark.parametrize("case", ["haystack_memory", "haystack_faiss"])
def test_documents_come_with_all_that_they_had(tmp_path, case):
    source, _ = unpack(case, tmp_path)
    (path,) = source.glob("*.json")
    held = json.loads(path.read_text())["documents"]
    store = RequantDocumentStore.from_existing(source, ":memory:")
    documents = {one.id: one for one in store.filter_documents()}
    for one in map(Document.from_dict, held):
        # Vectors are float32; Haystack's FAISS store has some metadata twice.
        found = documents[one.id]
        assert (found.content, found.blob, found.sparse_embedding, found.score) == (
            one.content, one.blob, one.sparse_embedding, one.score
        )  # fmt: skip
        assert found.meta == one.meta
    assert sum(one.blob is not None for one in documents.values()) == 1
    store.close()


def test_a_blob_that_haystack_cannot_read_is_told(tmp_path):
    source, _ = unpack("haystack_memory", tmp_path)
    path = source / "store.json"
    path.write_text(path.read_text().replace('"data": [0, 1]', '"data": "x"'))
    with pytest.raises(DocumentStoreError, match="'ключ-4': blob cannot be read"):
        RequantDocumentStore.from_existing(source, tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


def test_a_store_of_qdrant_is_opened(tmp_path):
    with requant.open(tmp_path / "source.db") as database:
        notes = database.create_collection("notes", dim=2)
        notes.upsert(["a", "b"], [[1, 0], [0, 1]], ["one", "two"], [{"n": 1}, {"n": 2}])
        notes.export(tmp_path / "qdrant", format="qdrant")
    store = RequantDocumentStore.from_existing(tmp_path / "qdrant", tmp_path / "a.db")
    found = store.embedding_retrieval([1.0, 0.1], {"field": "meta.n", "operator": "<", "value": 3})
    assert [(one.id, one.content) for one in found] == [("a", "one"), ("b", "two")]
    store.close()


def test_sources_and_places_that_will_not_do(tmp_path):
    with pytest.raises(DocumentStoreError, match="does not exist"):
        RequantDocumentStore.from_existing(tmp_path / "nothing.json", tmp_path / "a.db")
    saved = InMemoryDocumentStore()
    saved.write_documents([Document(id="a", embedding=[1.0, 0.0])])
    saved.save_to_disk(str(tmp_path / "store.json"))
    with pytest.raises(DocumentStoreError, match="not InMemoryDocumentStore"):
        RequantDocumentStore.from_existing(saved, tmp_path / "a.db")
    store = RequantDocumentStore.from_existing(tmp_path / "store.json", ":memory:")
    assert store.count_documents() == 1
    with requant.open(":memory:") as database:
        for wrong, error in [
            ({"engine": "nonesuch"}, DocumentStoreError), ({"precision": "int3"}, ValueError),
            ({"index": {"nothing": 1}}, DocumentStoreError), ({"nothing": 1}, TypeError),
            ({"index": [1]}, DocumentStoreError), ({"embedding_dim": 7}, DocumentStoreError),
        ]:  # fmt: skip
            with pytest.raises(error):
                RequantDocumentStore.from_existing(tmp_path / "store.json", database, **wrong)
            assert database.collections() == []
        store = RequantDocumentStore.from_existing(tmp_path / "store.json", database)
        assert (store.similarity, store.embedding_dim) == ("dot_product", 2)
        with pytest.raises(requant.ExistsError, match="is there already"):
            RequantDocumentStore.from_existing(tmp_path / "store.json", database)
        assert store.count_documents() == 1


def test_a_store_that_cannot_be_taken_over_whole_leaves_nothing(tmp_path):
    odd = [Document(id="a", embedding=[1.0, 0.0]), Document(id="b", content="nul\0")]
    saved = InMemoryDocumentStore()
    saved.write_documents(odd)
    saved.save_to_disk(str(tmp_path / "store.json"))
    with requant.open(":memory:") as database:
        with pytest.raises(DocumentStoreError, match="NUL"):
            RequantDocumentStore.from_existing(tmp_path / "store.json", database)
        assert database.collections() == []


def test_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/haystack.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/haystack.md", "exec"), names)
    for name in ("store", "new"):
        names[name].close()


def test_the_example_runs(tmp_path):
    command = [sys.executable, str(ROOT / "examples/haystack/move.py"), str(tmp_path / "x"), "400"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (mine,) = re.findall(r"^requant +(\S+)", done.stdout, re.MULTILINE)
    assert float(mine) > 0.99
    assert "migrated to usearch: switched" in done.stdout
    assert "back again: 400 documents, the same" in done.stdout
    assert re.search(r"answered [1-9]\d* times", done.stdout)
