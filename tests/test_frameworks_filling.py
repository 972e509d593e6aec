"""A store that is filled from another one, whose process is killed in the midst."""

import os
import subprocess
import sys

import pytest

import requant
from requant.errors import ExistsError, StoreError
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

def note(self, *origin):
    if self.origins:
        os._exit(9)  # all rows are stored, and nobody has said so yet
    noted(self, *origin)

noted, requant.Collection.note_origin = requant.Collection.note_origin, note
source, kind = sys.argv[1:]
if kind == "langchain":
    LangChainStore.from_existing(source, Spoken(), location="a.db")
else:
    LlamaStore.from_existing(source, "a.db")
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
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), kind],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=120,
    )
    assert done.returncode == 9
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
