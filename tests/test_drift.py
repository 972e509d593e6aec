"""Codes are fitted anew where others have come instead of the vectors that they were fitted to."""

import numpy as np
import pytest

import requant
from requant.errors import IndexWarning

N, DIM = 2400, 32
IDS = [str(i) for i in range(N)]
BEFORE = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


def cluster(seed=1):
    rng = np.random.default_rng(seed)
    center = rng.standard_normal(DIM)
    return (center + 0.05 * rng.standard_normal((N, DIM))).astype(np.float32)


def recall(notes, vectors):
    queries = vectors[:40] + np.float32(0.01)
    found = notes.search_many(queries, k=10)
    right = notes.search_many(queries, k=10, exact=True)
    hits = [
        len({a.id for a in one} & {b.id for b in two})
        for one, two in zip(found, right, strict=True)
    ]
    return sum(hits) / 400


def made(tmp_path, **index):
    db = requant.open(tmp_path / "a.db")
    notes = db.create_collection("notes", dim=DIM)
    notes.upsert(IDS, BEFORE)
    notes.add_index("main", **index)
    return db, notes


def built(db):
    return db.metrics().collections["notes"].indexes["main"].builds.count


@pytest.mark.parametrize(
    ("engine", "precision", "least"),
    [
        ("faiss", "int2", 0.8),
        ("faiss", "int8", 0.8),
        ("usearch", "int8", 0.8),
        ("faiss", "native", 0.3),
        ("turbovec", "native", 0.5),
    ],
)
def test_everything_is_replaced(tmp_path, engine, precision, least):
    db, notes = made(tmp_path, engine=engine, precision=precision)
    after = cluster()
    notes.upsert(IDS, after)
    notes.flush()
    assert recall(notes, after) >= least
    assert notes.verify().ok
    db.close()


def test_a_few_at_a_time_by_processes_that_end_soon(tmp_path):
    db, notes = made(tmp_path, engine="faiss", precision="int8")
    after = cluster()
    for start in range(0, N, N // 8):
        notes.upsert(IDS[start : start + N // 8], after[start : start + N // 8])
        notes.flush()
        db.close()
        db = requant.open(tmp_path / "a.db")
        notes = db.collection("notes")
    assert recall(notes, after) >= 0.8
    db.close()


def test_searches_alone_see_to_it(tmp_path):
    db, notes = made(tmp_path, engine="faiss", precision="int8")
    after = cluster()
    notes.upsert(IDS, after)
    for query in after[:40]:
        notes.search(query, k=1)
    assert recall(notes, after) >= 0.8
    db.close()


@pytest.mark.parametrize("engine", ["faiss", "turbovec"])
def test_more_of_the_same_keeps_its_codes(tmp_path, engine):
    precision = "int8" if engine == "faiss" else "native"
    db, notes = made(tmp_path, engine=engine, precision=precision)
    again = np.random.default_rng(5).standard_normal((N, DIM)).astype(np.float32)
    notes.calibrate(target=0.9)
    builds = built(db)
    for _ in range(3):
        notes.upsert(IDS, again)
        notes.flush()
    assert built(db) == builds
    # Warnings are errors: of another quantizer one would be told here.
    notes.search(again[0], k=10, recall=0.9)
    db.close()


def test_a_graph_is_built_anew_by_its_owner(tmp_path):
    db, notes = made(tmp_path, engine="faiss", precision="int8", index_type="hnsw")
    after = cluster()
    notes.upsert(IDS, after)
    with pytest.warns(IndexWarning, match="rebuild it to fit them anew"):
        notes.flush()
    notes.rebuild("main")
    assert recall(notes, after) >= 0.8
    db.close()


def builds(db):
    return db.metrics().collections["notes"].indexes["main"].builds.count


def test_equal_vectors_keep_the_codes_of_an_engine(tmp_path):
    # Which ten of a hundred equal ones are found is chance, and no loss of codes.
    db = requant.open(tmp_path / "a.db")
    notes = db.create_collection("notes", dim=DIM)
    equal = np.repeat(BEFORE[: N // 100], 100, axis=0)
    notes.upsert(IDS, equal)
    notes.add_index("main", engine="faiss", precision="native")
    notes.flush()
    before = builds(db)
    order = np.random.default_rng(2).permutation(N)
    for _ in range(2):
        notes.upsert([IDS[i] for i in order], equal[order])
        notes.flush()
    assert builds(db) == before
    db.close()


def test_few_left_among_many_keys_tell_nothing(tmp_path):
    db = requant.open(tmp_path / "a.db")
    notes = db.create_collection("notes", dim=4)
    count = 40_000
    vectors = np.random.default_rng(3).standard_normal((count, 4)).astype(np.float32)
    notes.upsert([str(i) for i in range(count)], vectors)
    # Beside each of the places where keys are looked for, but the first.
    looked_for = np.linspace(0, count - 1, 1024).astype(np.int64)
    left = [0, *(looked_for[:-1] + 1).tolist()]
    notes.delete(set(map(str, range(count))) - set(map(str, left)))
    notes.add_index("main", engine="faiss", precision="native")
    notes.flush()
    before = builds(db)
    for _ in range(2):
        notes.upsert([str(i) for i in left], vectors[left])
        notes.flush()  # warnings are errors
    assert builds(db) == before
    db.close()


def test_codes_that_may_take_long_to_learn_are_judged_by_who_can_wait(tmp_path):
    db, notes = made(tmp_path, engine="turbovec", precision="native", params={"bits": 2})
    after = cluster()
    notes.upsert(IDS, after)
    for query in after[:40]:
        notes.search(query, k=1)
    assert built(db) == 1
    notes.flush()
    assert built(db) == 2
    db.close()
