"""`more_like`: near to stored items, without themselves."""

from __future__ import annotations

import numpy as np
import pytest

from requant.errors import InputError, UnknownIdError
from tests.databases import brute_force, vectors

N = 1500


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("index", [None, "float32"])
def test_it_is_a_search_for_the_mean_without_the_items(any_db, metric, index):
    stored = vectors(N)
    notes = any_db.create_collection("notes", 8, metric)
    notes.upsert(range(N), stored, metadata=[{"doc": n // 3} for n in range(N)])
    if index:
        notes.add_index("main", precision=index)
    for ids in ([5], [5, 900], [5, 900, 901, 5], list(range(40))):
        chosen = sorted(set(ids))
        rows = stored[chosen].astype(np.float64)
        if metric == "cosine" and len(chosen) > 1:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        query = rows.mean(axis=0).astype(np.float32)
        order, scores = brute_force(query, stored, metric, N)
        wanted = [row for row in order if row not in chosen][:10]
        hits = notes.more_like(ids if len(ids) > 1 else ids[0], 10)
        assert [hit.id for hit in hits] == wanted
        value = dict(zip(order, scores.tolist(), strict=True))
        np.testing.assert_allclose([h.score for h in hits], [value[row] for row in wanted], 1e-4)
        own = {n // 3 for n in wanted}
        groups = notes.more_like(ids, 5, group_by="doc", vectors=True)
        assert len({hit.metadata["doc"] for hit in groups}) == 5
        assert groups[0].metadata["doc"] in own
        assert not {hit.id for hit in groups} & set(chosen)


def test_everything_else_is_found(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(["a", 7, "c"], vectors(3))
    assert {hit.id for hit in notes.more_like("7", 100)} == {"a", "c"}
    assert {hit.id for hit in notes.more_like(np.int64(7), 100, mmr=0.5)} == {"a", "c"}
    assert notes.more_like(["a", 7, "c"]) == []
    assert [hit.id for hit in notes.more_like("a", where={"$id": "c"})] == ["c"]
    assert notes.more_like("a", among=["a"]) == []
    assert notes.more_like(iter(["a", "a"]), 1, among=["a", "c"])[0].id == "c"


def test_a_function_that_reranks_is_given_the_vector(db):
    notes = db.create_collection("notes", 8)
    stored = vectors(3)
    notes.upsert(["a", "b", "c"], stored)

    def rerank(query, hits):
        assert (query == stored[0]).all()
        return [hit.id == "c" for hit in hits]

    assert notes.more_like("a", 1, rerank=rerank)[0].id == "c"


def test_unknown_items_and_no_items(db):
    notes = db.create_collection("notes", 2)
    notes.upsert(["a", "b", "c"], [[1, 0], [-1, 0], [1e-30, 0]])
    notes.upsert(["text"], documents=["no vector"])
    with pytest.raises(UnknownIdError, match="no item 'gone' in collection 'notes'"):
        notes.more_like(["a", "gone"])
    with pytest.raises(UnknownIdError, match="item 'text' of collection 'notes' has no vector"):
        notes.more_like("text")
    with pytest.raises(InputError, match="at least one id"):
        notes.more_like([])
    with pytest.raises(InputError, match="mean has no direction"):
        notes.more_like(["a", "b"])
    assert [hit.id for hit in notes.more_like(["a", "c"])] == ["b"]
    with pytest.raises(InputError, match="ids row 0"):
        notes.more_like([None])


def test_the_item_is_read_where_the_search_reads(db):
    notes = db.create_collection("notes", 2)
    notes.upsert(["a", "b", "c"], [[1, 0], [1, 0.1], [0, 1]])
    assert notes.more_like("a", 1)[0].id == "b"
    notes.upsert(["a"], [[0.1, 1]])
    assert notes.more_like("a", 1)[0].id == "c"
    notes.delete(["a"])
    with pytest.raises(UnknownIdError):
        notes.more_like("a")
