"""A store that is filled from another one, whose process is killed in the midst."""

import os
import subprocess
import sys

import faiss
import numpy as np
import pytest

import requant
from requant.errors import ExistsError, IndexWarning, StoreError
from requant.integration.haystack import RequantDocumentStore
from requant.integration.langchain import RequantVectorStore as LangChainStore
from requant.integration.llama_index import RequantVectorStore as LlamaStore
from tests.foreign_cases import unpack
from tests.langchain_cases import Spoken

KILLED = """
import os, sys
import requant
from requant.integration.langchain import RequantVectorStore as LangChainStore
from requant.integration.llama_index import RequantVectorStore as LlamaStore
from tests.langchain_cases import Spoken

def note(self, *origin, **options):
    if self.origins:
        os._exit(9)  # all rows are stored, and nobody has said so yet
    return noted(self, *origin, **options)

noted, requant.Collection.note_origin = requant.Collection.note_origin, note
source, kind = sys.argv[1:]
if kind == "langchain":
    LangChainStore.from_existing(source, Spoken(), location="a.db")
else:
    LlamaStore.from_existing(source, "a.db")
"""
FILLS = """
import sys
from requant.integration.langchain import RequantVectorStore
from tests.langchain_cases import Spoken
RequantVectorStore.from_existing(sys.argv[1], Spoken(), location="a.db")
"""
KINDS = {
    "langchain": (
        lambda location: LangChainStore(Spoken(), location, metric="l2").collection,
        lambda source, location: (
            LangChainStore.from_existing(source, Spoken(), location=location).collection
        ),
    ),
    "llama_index": (
        lambda location: LlamaStore(location, metric="l2").collection,
        lambda source, location: LlamaStore.from_existing(source, location).collection,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_not_taken_for_the_whole(tmp_path, kind):
    opened, filled = KINDS[kind]
    source, _ = unpack("langchain_faiss", tmp_path)
    assert _run(tmp_path, KILLED, str(source), kind) == 9
    with requant.open(tmp_path / "a.db") as database:
        assert len(database.collection(kind)) == 27
        for again in (lambda: opened(database), lambda: filled(source, database)):
            with pytest.raises(StoreError, match=rf"drop_collection\('{kind}'\)"):
                again()
        database.drop_collection(kind)
        assert len(filled(source, database)) == 27
        assert [index.engine for index in opened(database).indexes] == ["faiss"]
        with pytest.raises(ExistsError, match="holds 27 items"):
            filled(source, database)


def _run(folder, program, *told):
    done = subprocess.run(
        [sys.executable, "-c", program, *told],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=120,
    )
    return done.returncode


@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_of_two_that_fill_one_collection_one_is_let(tmp_path, monkeypatch, there):
    source, _ = unpack("langchain_faiss", tmp_path)
    with requant.open(tmp_path / "a.db") as database:
        if there:
            database.create_collection("langchain", dim=8, metric="l2")

    def note(self, *origin, **options):
        if options and not calls:
            calls.append(_run(tmp_path, FILLS, str(source)))  # before this one has said anything
        return noted(self, *origin, **options)

    calls, noted = [], requant.Collection.note_origin
    monkeypatch.setattr(requant.Collection, "note_origin", note)
    with pytest.raises(ExistsError, match="holds 27 items"):
        LangChainStore.from_existing(source, Spoken(), location=tmp_path / "a.db")
    assert calls == [0]
    with requant.open(tmp_path / "a.db") as database:
        assert len(database.collection("langchain")) == 27


def test_who_comes_while_another_fills_it_leaves_it_alone(tmp_path, monkeypatch):
    source, _ = unpack("langchain_faiss", tmp_path)

    def upsert(self, *given, **named):
        if not calls:
            calls.append(_run(tmp_path, FILLS, str(source)))
        return upserted(self, *given, **named)

    calls, upserted = [], requant.Collection.upsert
    monkeypatch.setattr(requant.Collection, "upsert", upsert)
    store = LangChainStore.from_existing(source, Spoken(), location=tmp_path / "a.db")
    assert calls == [1]
    assert len(store.collection) == 27
    store.close()


@pytest.mark.filterwarnings("ignore:a.faiss. 2 of 2 items came without a text")
@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (lambda path, **kw: LangChainStore.from_existing(path, Spoken(), **kw), {"metric": "l2"}),
        (lambda path, **kw: LlamaStore.from_existing(path, **kw), {"metric": "l2"}),
        (lambda path, **kw: RequantDocumentStore.from_existing(path, "a.db", **kw),
         {"similarity": "l2"}),
    ],
)  # fmt: skip
def test_another_metric_is_told(tmp_path, monkeypatch, opened, said):
    monkeypatch.chdir(tmp_path)
    index = faiss.IndexFlat(2, faiss.METRIC_L1)
    index.add(np.array([[1, 0], [0, 3]], np.float32))
    faiss.write_index(index, "a.faiss")
    with pytest.warns(IndexWarning, match="none of cosine, ip and l2; say the metric"):
        store = opened("a.faiss")
    assert store.collection.metric == "cosine"
    store.close()
    (tmp_path / "a.db").unlink(missing_ok=True)
    opened("a.faiss", **said).close()  # which is without a word
