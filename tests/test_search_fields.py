"""What hits are given beside id and score: documents and metadata, one of them, or neither."""

from __future__ import annotations

import asyncio
import copy
import pickle

import numpy as np
import pytest

import requant
from requant.errors import InputError
from requant.integration.sqlalchemy import aio
from requant.search import Hit
from tests.databases import metadata, vectors

QUERY = np.ones(8)
WHOLE = ("document", "metadata")


@pytest.fixture
def notes(any_db):
    notes = any_db.create_collection("notes", 8, full_text=True)
    notes.upsert(range(60), vectors(60), [f"text {n}" for n in range(60)], metadata(60))
    return notes


def asked(notes, **options):
    """Return the hits of every verb that has hits."""
    return {
        "search": notes.search(QUERY, 5, **options),
        "filtered": notes.search(QUERY, 5, where={"even": True}, group_by="word", **options),
        "search_text": notes.search_text("x", 5, model=lambda texts: [QUERY], **options),
        "more_like": notes.more_like(3, 5, **options),
        "search_documents": notes.search_documents("text", 5, **options),
        "search_hybrid": notes.search_hybrid("text", QUERY, 5, **options),
        "search_many": notes.search_many([QUERY], 5, **options)[0],
    }


@pytest.mark.parametrize(
    "fields", [("id",), ("document",), ["metadata", "id"], {"score"}, (), iter(WHOLE), WHOLE]
)
def test_hits_have_what_was_asked_for_and_the_rest_is_none(notes, fields):
    fields = list(fields)
    whole = asked(notes)
    for verb, hits in asked(notes, fields=fields).items():
        left_out = {name: None for name in WHOLE if name not in fields}
        assert hits == [hit._replace(**left_out) for hit in whole[verb]], verb
        assert len(hits) == 5


def test_vectors_and_functions_that_rerank_go_with_it(notes):
    hits = notes.search(QUERY, 3, fields=("id",), vectors=True)
    assert all((hit.vector == vectors(60)[hit.id]).all() for hit in hits)
    by_id = notes.search(QUERY, 3, fields=["id"], rerank=lambda query, hits: [h.id for h in hits])
    assert [hit.id for hit in by_id] == sorted((hit.id for hit in by_id), reverse=True)


class Model:
    def predict(self, pairs):
        return [len(document) for _, document in pairs]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (("ids",), "fields= names 'ids': a hit has id, score, document, metadata"),
        (("id", "vector"), "vectors=True gives hits theirs"),
        ("id", r"takes a tuple of names, such as \(\"id\",\), not 'id'"),
        (7, "takes a tuple of names"),
        ((1,), "fields= names 1"),
        (([],), r"fields= names \[\]"),
    ],
)
def test_what_a_hit_does_not_have_is_refused(db, fields, text):
    notes = db.create_collection("notes", 8)
    for verb in (notes.search, lambda query, **given: notes.search_many([query], **given)):
        with pytest.raises(InputError, match=text):
            verb(QUERY, fields=fields)


def test_what_needs_documents_is_not_asked_without(db):
    notes = db.create_collection("notes", 8)
    with pytest.raises(InputError, match='add "document" to fields='):
        notes.search_text("x", model=lambda texts: [QUERY], rerank=Model(), fields=("id",))
    with pytest.raises(InputError, match="documents=False makes no hits"):
        notes.search_many([QUERY], documents=False, fields=("id",))


def test_coroutines_take_it_too(tmp_path):
    async def run():
        async with await aio.open(tmp_path / "notes.db") as db:
            notes = await db.create_collection("notes", 8)
            await notes.upsert([1], [QUERY], ["text"], [{"n": 1}])
            return await notes.search(QUERY, fields=("document",))

    assert asyncio.run(run()) == [Hit(1, 1.0, "text", None)]


def test_hits_are_plain_tuples(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(["a"], [QUERY], ["text"], [{"n": [1, None]}])
    (hit,) = notes.search(QUERY)
    same = Hit("a", 1.0, "text", {"n": [1, None]})
    assert type(hit) is Hit
    assert type(hit.metadata) is dict
    assert hit == same == tuple(hit) == copy.deepcopy(hit)
    assert pickle.loads(pickle.dumps(hit)) == hit  # noqa: S301
    assert repr(hit) == repr(same)
    assert requant.Hit(*hit) == hit
