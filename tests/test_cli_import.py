"""`requant import`: what is stored, what is refused, and what it says."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import requant
from tests.cli import WORDNET, floats, jsonl, npy, only_error, refused, run


@pytest.fixture
def db(tmp_path):
    return tmp_path / "notes.requant"


@pytest.fixture
def rows():
    vectors = floats(10).tolist()
    return [{"id": f"n{i}", "vector": vector} for i, vector in enumerate(vectors)]


def stored(db, name="notes"):
    with requant.open(db) as opened:
        return {item.id: item for item in opened.collection(name).iter()}


def test_wordnet_is_imported_with_its_items(db):
    answer = run(
        "import", WORDNET / "vectors_f16.npy", db, "wordnet",
        "--items", WORDNET / "items.jsonl.gz", "--documents", "text", "--metadata", "all", "--json",
    ).json  # fmt: skip
    assert answer["rows"] == answer["new"] == 8000
    assert (answer["dim"], answer["metric"], answer["complete"]) == (384, "cosine", True)
    assert answer["columns"]["ids"] == "id"
    with requant.open(db) as opened:
        wordnet = opened.collection("wordnet")
        (item,) = wordnet.get(["noun-00006024"])
        assert item.document.startswith("an organism that depends on complex")
        assert item.metadata == {
            "lemmas": ["heterotroph"], "pos": "noun", "lexname": 3, "n_examples": 0
        }  # fmt: skip
        first = np.load(WORDNET / "vectors_f16.npy", mmap_mode="r")[:1].astype(np.float32)
        assert wordnet.vectors(["noun-00006024"]).tobytes() == first.tobytes()


def test_a_file_without_ids_gets_row_numbers_and_says_so(tmp_path, db):
    said = run("import", npy(tmp_path / "v.npy", floats(3)), db, "notes").out
    assert "Stored 3 rows in collection 'notes'" in said
    assert "ids: row numbers, from 0" in said
    assert f"Next: requant index add {db} notes main" in said
    assert list(stored(db)) == [0, 1, 2]


def test_metric_is_that_of_the_new_collection(tmp_path, db):
    source = npy(tmp_path / "v.npy", floats(3))
    assert run("import", source, db, "notes", "--metric", "l2", "--json").json["metric"] == "l2"
    error = refused("import", source, db, "notes", "--metric", "ip")
    assert "compares by l2, not ip" in error
    assert "'--metric'" in refused("import", source, db, "other", "--metric", "l1")


def test_upsert_replaces_and_add_refuses_with_the_row(tmp_path, db, rows):
    run("import", jsonl(tmp_path / "a.jsonl", rows[:6]), db, "notes")
    more = jsonl(tmp_path / "b.jsonl", [*rows[8:], rows[5]])
    error = refused("import", more, db, "notes", "--on-conflict", "error")
    assert error.endswith(
        "b.jsonl row 2 (line 3): id 'n5' is already stored: replace it, or skip it"
    )
    assert len(stored(db)) == 6
    answer = run("import", more, db, "notes", "--json").json
    assert (answer["rows"], answer["new"], answer["replaced"]) == (3, 2, 1)


def test_what_is_stored_already_can_be_skipped(tmp_path, db, rows):
    run("import", jsonl(tmp_path / "a.jsonl", rows[:6]), db, "notes")
    rows[5]["vector"] = rows[6]["vector"] = None  # the one is there, the other is not
    before = stored(db)["n5"].vector.tobytes()
    command = ("import", jsonl(tmp_path / "b.jsonl", rows[4:]), db, "notes", "--batch", "2")
    answer = run(*command, "--on-conflict", "skip", "--json").json
    assert (answer["rows"], answer["new"], answer["replaced"], answer["skipped"]) == (4, 4, 0, 2)
    assert answer["without_vector"] == 1
    assert stored(db)["n5"].vector.tobytes() == before
    said = run(*command, "--on-conflict", "skip").out
    assert "Stored 0 rows" in said
    assert "0 new, 0 replaced, 6 skipped" in said


def test_a_row_without_a_vector_takes_away_a_stored_one(tmp_path, db, rows):
    """It is told that no search will find it, and in the order of the file."""
    run("import", jsonl(tmp_path / "a.jsonl", rows[:3]), db, "notes")
    rows[1]["vector"] = rows[4]["vector"] = None
    answer = run("import", jsonl(tmp_path / "b.jsonl", rows), db, "notes", "--json").json
    assert (answer["new"], answer["without_vector"]) == (7, 2)
    items = stored(db)
    assert list(items) == [f"n{i}" for i in range(10)]
    assert [i for i, item in items.items() if item.vector is None] == ["n1", "n4"]


def test_a_batch_with_and_without_vectors_is_one_transaction(tmp_path, db, rows, monkeypatch):
    run("import", jsonl(tmp_path / "a.jsonl", rows[:1]), db, "notes")
    rows[2]["vector"] = None
    asked = []
    upsert = requant.Collection.upsert

    def counted(self, ids, *args, **options):
        asked.append(len(ids))
        return upsert(self, ids, *args, **options)

    monkeypatch.setattr(requant.Collection, "upsert", counted)
    run("import", jsonl(tmp_path / "b.jsonl", rows), db, "notes", "--batch", "5")
    assert asked == [5, 5]


def test_a_bad_row_stops_midway_says_what_is_stored_and_a_second_run_completes(tmp_path, db):
    vectors = floats(10)
    vectors[7, 2] = np.nan
    source = npy(tmp_path / "v.npy", vectors)
    command = ("import", source, db, "notes", "--batch", "3")
    error = only_error(run(*command, code=1))
    assert error == (
        f"error: {source} row 7: the vector holds nan in dimension 2: drop the row or embed its "
        "text again; 6 rows are stored, run the same command again to store them all"
    )
    assert list(stored(db)) == [0, 1, 2, 3, 4, 5]
    answer = run(*command, "--json", code=1).json
    assert (answer["complete"], answer["rows"], answer["replaced"]) == (False, 6, 6)
    assert "row 7" in answer["error"]
    npy(source, floats(10))
    answer = run(*command, "--json").json
    assert (answer["complete"], answer["rows"], answer["new"], answer["error"]) == (
        True, 10, 4, None,
    )  # fmt: skip


def test_a_stopped_add_is_completed_without_add(tmp_path, db, rows):
    rows[5]["vector"] = [1, 2]
    source = jsonl(tmp_path / "a.jsonl", rows)
    error = refused("import", source, db, "notes", "--on-conflict", "error", "--batch", "5", code=1)
    assert "row 5 (line 6): the vector has 2 dimensions, expected 4" in error
    assert "5 rows are stored, run the same command with --on-conflict replace again" in error


def _nan(rows):
    rows[3]["vector"][1] = float("nan")


def _narrow(rows):
    rows[3]["vector"].pop()


def _text(rows):
    rows[3]["vector"][1] = "x"


def _null(rows):
    rows[3]["vector"][1] = None


def _no_id(rows):
    del rows[3]["id"]


def _float_id(rows):
    rows[3]["id"] = 1.5


def _twice(rows):
    rows[3]["id"] = "n1"


def _long_id(rows):
    rows[3]["id"] = "x" * 2000


def _document(rows):
    rows[3]["document"] = 7


def _metadata(rows):
    rows[3]["metadata"] = [1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_nan, "nan in dimension 1"),
        (_narrow, "3 dimensions, expected 4"),
        (_text, "'x', which is not a number"),
        (_null, "None, which is not a number"),
        (_no_id, "no id in column 'id'"),
        (_float_id, "the id is a float"),
        (_twice, "id 'n1' occurs a second time"),
        (_long_id, "2000 characters"),
        (_document, "the document is a int"),
        (_metadata, "the metadata is a list"),
    ],
)
def test_a_bad_first_batch_names_its_row_and_makes_nothing(tmp_path, db, rows, spoil, reason):
    spoil(rows)
    rows[0].setdefault("document", "so that the columns are known")
    rows[0].setdefault("metadata", {})
    error = refused("import", jsonl(tmp_path / "a.jsonl", rows), db, "notes")
    assert "a.jsonl row 3 (line 4): " in error
    assert reason in error
    assert not db.exists()


def test_an_id_repeated_in_a_later_batch_is_refused_too(tmp_path, db, rows):
    rows[8]["id"] = "n1"
    source = jsonl(tmp_path / "a.jsonl", rows)
    error = refused("import", source, db, "notes", "--batch", "2", code=1)
    assert "row 8 (line 9): id 'n1' occurs a second time in this file; 8 rows are stored" in error


def test_files_of_different_length_are_found_before_anything_is_written(tmp_path, db, rows):
    items = jsonl(tmp_path / "items.jsonl", [{"id": row["id"]} for row in rows[:9]])
    source = npy(tmp_path / "v.npy", floats(10))
    error = refused("import", source, db, "notes", "--items", items, "--batch", "2")
    assert "v.npy has 10 rows" in error
    assert "items.jsonl has 9" in error
    assert not db.exists()


def test_a_bad_item_and_a_bad_vector_are_each_named_by_their_own_file(tmp_path, db):
    vectors = floats(3)
    vectors[2, 0] = np.inf
    source = npy(tmp_path / "v.npy", vectors)
    items = jsonl(tmp_path / "i.jsonl", [{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert "v.npy row 2: the vector holds inf" in refused(
        "import", source, db, "n", "--items", items
    )
    jsonl(items, [{"id": "a"}, {"id": ""}, {"id": "c"}])
    npy(source, floats(3))
    assert "i.jsonl row 1 (line 2): the id has 0 char" in refused(
        "import", source, db, "n", "--items", items
    )


def test_rows_without_a_vector_are_stored_and_counted(tmp_path, db, rows):
    for row in rows:
        row["document"] = f"text of {row['id']}"
    rows[2]["vector"] = None
    del rows[4]["vector"]
    source = jsonl(tmp_path / "a.jsonl", rows)
    said = run("import", source, db, "notes", "--batch", "3").out
    assert "2 of them have no vector: no search will find them" in said
    items = stored(db)
    assert [i for i, item in items.items() if item.vector is None] == ["n2", "n4"]
    assert all(item.document == f"text of {i}" for i, item in items.items())


def test_a_bad_row_beside_rows_without_vector_stores_nothing_of_its_batch(tmp_path, db, rows):
    rows[4]["vector"] = None
    rows[5]["vector"][0] = float("inf")
    rows[5]["document"] = "x"
    source = jsonl(tmp_path / "a.jsonl", rows)
    error = refused("import", source, db, "notes", "--batch", "3", code=1)
    assert "row 5 (line 6): the vector holds inf" in error
    assert "3 rows are stored" in error
    assert len(stored(db)) == 3


def test_documents_alone_can_join_a_collection_but_not_found_one(tmp_path, db, rows):
    texts = [{"id": "t1", "vector": None}, {"id": "t2", "vector": None}]
    source = jsonl(tmp_path / "t.jsonl", texts)
    assert "no column of vectors" in refused("import", source, db, "notes")
    command = ("import", source, db, "notes", "--vector", "vector")
    assert "does not exist" in refused(*command)
    assert not db.exists()
    run("import", jsonl(tmp_path / "a.jsonl", rows), db, "notes")
    assert run(*command, "--json").json["without_vector"] == 2
    error = refused("import", source, db, "other", "--vector", "vector")
    assert "nothing tells the dimensions of the new collection 'other'" in error


def test_another_width_than_the_collection_has(tmp_path, db):
    run("import", npy(tmp_path / "a.npy", floats(3, 4)), db, "notes")
    error = refused("import", npy(tmp_path / "b.npy", floats(3, 5)), db, "notes")
    assert "holds vectors of 5 dimensions, collection 'notes' has 4" in error


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("nix.npy", "{db}", "notes"), "nix.npy does not exist"),
        (("{tmp}", "{db}", "notes"), "is a folder: name a file"),
        (("{npy}", "{db}", "../notes"), "collection name '../notes' is not allowed"),
        (("{npy}", ":memory:", "notes"), "gone when the import ends"),
        (("{npy}", "{tmp}/no/such.db", "notes"), "the folder"),
        (("{npy}", "{db}", "notes", "--ids", "id"), "hand over ids"),
        (("{npy}", "{db}", "notes", "--items", "{npy}"), "--items takes texts and metadata"),
        (("{npy}", "{db}", "notes", "--items", "{tmp}/no.jsonl"), "no.jsonl does not exist"),
        (("{npy}", "{db}", "notes", "--batch", "0"), "--batch"),
        (("{txt}", "{db}", "notes"), "unknown format, the name must end in one of .npy"),
    ],
)
def test_what_cannot_be_imported(tmp_path, db, args, reason):
    source = npy(tmp_path / "v.npy", floats(3))
    text = tmp_path / "v.txt"
    text.write_text("1 2 3")
    filled = [arg.format(db=db, tmp=tmp_path, npy=source, txt=text) for arg in args]
    assert reason in refused("import", *filled)
    assert not db.exists()


def test_a_missing_column_lists_those_that_are_there(tmp_path, db, rows):
    source = jsonl(tmp_path / "a.jsonl", rows)
    for option in ("--ids", "--vector", "--documents", "--metadata"):
        error = refused("import", source, db, "notes", option, "nix")
        assert error.endswith(f"has no column 'nix' ({option}); its columns are: id, vector")


def test_an_existing_file_that_is_no_database_is_left_alone(tmp_path, db):
    db.write_bytes(b"my thesis " * 100)
    error = refused("import", npy(tmp_path / "v.npy", floats(3)), db, "notes")
    assert "not a database" in error
    assert db.read_bytes() == b"my thesis " * 100


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_without_pyarrow_the_extra_is_named(tmp_path, db, monkeypatch, name):
    source = tmp_path / name
    source.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    assert "pip install 'requant[arrow]'" in refused("import", source, db, "notes")
