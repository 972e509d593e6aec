"""`calibrate` measures how hard an index has to try; `search(recall=)` tries as hard."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import (
    CorruptDataError,
    IndexWarning,
    InputError,
    ReadOnlyError,
    UnsupportedError,
)
from tests import inside
from tests.databases import clustered

DIM = 32
SETTING = {
    "target": 0.9, "k": 10, "effort": 8, "oversample": 3.0, "recall": 0.95, "lower": 0.92,
    "queries": 300, "queries_from": "given", "items": 3000, "made": "x 1",
}  # fmt: skip
QUERIES = clustered(300, DIM, seed=1)


def filled(db: Database, n: int = 6000, metric: str = "cosine") -> Collection:
    """A collection of items that lists have something to learn of."""
    notes = db.create_collection("notes", DIM, metric)
    notes.upsert(range(n), clustered(n, DIM, seed=0))
    return notes


def recall(notes: Collection, queries: np.ndarray, **options: object) -> float:
    """The share of the 10 nearest that is found, by score."""
    wanted = notes.search_many(queries, exact=True, documents=False).scores
    found = notes.search_many(queries, documents=False, **options).scores
    return float((found >= wanted[:, -1:] - 1e-6).mean())


@pytest.mark.parametrize("index", ["faiss int2 ivf", "usearch int8 hnsw"])
def test_recall_is_what_was_asked_for(any_db: Database, index: str) -> None:
    """Also of queries that it was not calibrated on; with less effort than would find all."""
    engine, precision, index_type = index.split()
    notes = filled(any_db)
    notes.add_index("main", engine=engine, precision=precision, index_type=index_type)
    least = notes.calibrate(0.8, queries=QUERIES)
    most = notes.calibrate(0.98, queries=QUERIES)
    assert least.effort is not None
    assert most.effort is not None
    assert (least.queries_from, least.queries, least.items) == ("given", 300, 6000)
    assert 0.8 <= least.lower <= least.recall
    assert least.recall < 0.999  # else it would be no matter how hard it tries
    others = clustered(300, DIM, seed=2)
    assert recall(notes, others, recall=0.98) > 0.96
    assert recall(notes, others, recall=0.7) >= 0.75  # the least that was calibrated is enough
    assert recall(notes, others, recall=0.7) < recall(notes, others, recall=0.98)
    assert recall(notes, others, recall=1) == 1.0


def test_a_flat_index_is_asked_for_candidates_alone(db: Database) -> None:
    """Its effort is what it is."""
    notes = filled(db)
    notes.add_index("main", engine="faiss", precision="int2")
    found = notes.calibrate(0.99)
    assert found.effort is None
    assert found.queries_from == "stored vectors"
    assert 1 < found.oversample < 16
    assert recall(notes, QUERIES, recall=0.99) > 0.97
    # Fewer results each need more candidates.
    assert recall(notes, QUERIES, recall=0.99, k=10) > 0.97


def test_others_see_it(tmp_path: Path) -> None:
    """It stands in the store: another process, or one that opens it later, tries as hard."""
    with requant.open(tmp_path / "notes.requant") as db:
        filled(db, 3000).add_index("main", engine="faiss", precision="int8", index_type="ivf")
        with requant.open(tmp_path / "notes.requant") as beside:
            others = beside.collection("notes")
            with pytest.raises(InputError, match=r"not calibrated for recall=0.9 \(it was for: no"):
                others.search(QUERIES[0], recall=0.9)
            db.collection("notes").calibrate(0.9, index="main")
            assert len(others.search(QUERIES[0], recall=0.9)) == 10
            with pytest.raises(InputError, match=r"recall=0.95 \(it was for: 0.9\)"):
                others.search(QUERIES[0], recall=0.95)
    with requant.open(tmp_path / "notes.requant", read_only=True) as db:
        assert len(db.collection("notes").search(QUERIES[0], recall=0.9)) == 10
        with pytest.raises(ReadOnlyError):
            db.collection("notes").calibrate(0.9)


def test_what_cannot_be_is_refused(db: Database) -> None:
    """By name, with what to do."""
    notes = filled(db, 3000)
    with pytest.raises(InputError, match="has no index: searches are exact"):
        notes.calibrate(0.9)
    assert len(notes.search(QUERIES[0], recall=0.9)) == 10  # exact
    notes.add_index("main", engine="faiss", precision="binary", bits=1)
    for target in (0, 1, True, "0.9", float("nan")):
        with pytest.raises(InputError, match="target must be"):
            notes.calibrate(target)
    with pytest.raises(InputError, match="k must be"):
        notes.calibrate(0.9, k=0)
    with pytest.raises(InputError, match="at least one vector"):
        notes.calibrate(0.9, queries=np.empty((0, DIM)))
    with pytest.raises(UnsupportedError, match=r"does not reach recall 0\.999"):
        notes.calibrate(0.999, queries=QUERIES[:50])
    for options in ({"oversample": 3}, {"effort": 8}):
        with pytest.raises(InputError, match="recall= chooses"):
            notes.search(QUERIES[0], recall=0.9, **options)
    for wish in (-0.1, 1.1, "0.9", True):
        with pytest.raises(InputError, match="recall must be"):
            notes.search(QUERIES[0], recall=wish)


def test_one_vector_is_not_nothing(db: Database) -> None:
    """It is searched without an index, so that there is none to calibrate."""
    notes = db.create_collection("notes", DIM)
    notes.add_index("main", engine="faiss", precision="int8")
    with pytest.raises(InputError, match="is empty"):
        notes.calibrate(0.9)
    notes.upsert(range(2), QUERIES[:2])
    notes.delete([0])
    with pytest.raises(InputError, match="not built yet, since the collection holds 1 vector"):
        notes.calibrate(0.9, queries=QUERIES)


def test_another_index_than_was_calibrated_is_told_of_once(db: Database) -> None:
    """It grew, or was built anew: answers come, and a warning says that less may be found."""
    notes = filled(db, 3000)
    notes.add_index("main", engine="faiss", precision="int2", index_type="ivf")
    notes.calibrate(0.9)
    notes.upsert(range(3000, 7000), clustered(4000, DIM, seed=3))
    notes.flush()
    with pytest.warns(IndexWarning, match="held 3,000 items when it was calibrated, and holds 7,0"):
        notes.search(QUERIES[0], recall=0.9)
    notes.search(QUERIES[0], recall=0.9)  # warnings are errors
    notes.calibrate(0.9)
    notes.search(QUERIES[0], recall=0.9)
    notes.upsert(range(100), clustered(100, DIM, seed=4))
    notes.rebuild()
    with pytest.warns(IndexWarning, match="was built anew since"):
        notes.search(QUERIES[0], recall=0.9)


def test_many_more_results_than_it_was_calibrated_for_are_told_of_once(db: Database) -> None:
    """The last of them are in lists that the effort does not reach."""
    notes = filled(db, 3000)
    notes.add_index("main", engine="faiss", precision="int8", index_type="ivf")
    notes.calibrate(0.8, queries=QUERIES)
    notes.search(QUERIES[0], recall=0.8, k=40)  # warnings are errors
    with pytest.warns(IndexWarning, match="calibrated for the 10 nearest, and is asked for 41"):
        notes.search(QUERIES[0], recall=0.8, k=41)
    notes.search(QUERIES[0], recall=0.8, k=41)
    notes.calibrate(0.8, queries=QUERIES, k=41)
    assert len(notes.search(QUERIES[0], recall=0.8, k=41)) == 41


@pytest.mark.parametrize(
    "info",
    [
        json.dumps({"settings": [{**SETTING, "effort": -1}]}),
        json.dumps({"settings": [{**SETTING, "oversample": float("nan")}]}),
        json.dumps({"settings": [{**SETTING, "k": "10"}]}),
        '{"settings": 1}',
        '{"settings": [{}]}',
        "[]",
        "{",
    ],
)
def test_nonsense_in_the_store_is_refused(db: Database, info: str) -> None:
    """A stranger may have written it."""
    notes = filled(db, 3000)
    notes.add_index("main", engine="faiss", precision="int8", index_type="ivf")
    with inside.connected(notes) as connection:
        connection.execute(sa.text("UPDATE requant_indexes SET info = :info"), {"info": info})
        connection.commit()
    with pytest.raises(CorruptDataError):
        notes.search(QUERIES[0], recall=0.9)


def test_lists_are_learned_for_all_items_from_enough_of_them(db: Database) -> None:
    """Twice the square root of the items, and each from rows enough."""
    notes = db.create_collection("many", 4)
    notes.upsert(range(30_000), clustered(30_000, 4, seed=5))
    notes.add_index("main", engine="faiss", precision="int8", index_type="ivf")
    assert inside.backend_of(notes).native().nlist == 346


def test_lists_that_are_too_few_are_told_of_and_learned_anew(db: Database) -> None:
    """Answers stay right; how long it takes to build anew is for the owner to choose when."""
    notes = db.create_collection("many", 4)
    rows = clustered(90_000, 4, seed=5)
    notes.upsert(range(10_000), rows[:10_000])
    notes.add_index("main", engine="faiss", precision="int2", index_type="ivf")
    notes.upsert(range(10_000, 90_000), rows[10_000:])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        notes.flush()
        notes.search(rows[0], effort=5)
    assert [str(one.message) for one in told if "learned for 10,000 items" in str(one.message)]
    assert len(told) == 1
    assert inside.backend_of(notes).native().nlist == 200
    notes.rebuild()
    assert inside.backend_of(notes).native().nlist == 600
    assert notes.verify().ok
