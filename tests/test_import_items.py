"""Texts and metadata from a file of their own, joined to vectors and indexes by id or by row."""

from __future__ import annotations

import csv
import json
import tracemalloc
import uuid
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from usearch.index import Index

import requant
from requant.integration.errors import ImportIncompleteError, SourceError
from tests.cli import documented_keys, floats, jsonl, npy, refused, run
from tests.test_foreign_import import lance, shard

N, DIM = 30, 8
ROWS = floats(N, DIM)
NUMBERS = np.arange(N) * 7 + 2**40


def texts(path, ids, **columns):
    """A file of items, whatever its ending: ids, a text each, and more columns."""
    rows = [
        ({} if ids is None else {"id": name})
        | {"text": f"text {n}", "year": 2000 + n}
        | {key: values[n] for key, values in columns.items()}
        for n, name in enumerate(range(N) if ids is None else ids)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        jsonl(path, rows)
    return path


def flat(path, ids=None, n=N):
    index = faiss.IndexFlatL2(DIM)
    if ids is not None:
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(ROWS[:n], np.asarray(ids, np.int64))
    else:
        index.add(ROWS[:n])
    faiss.write_index(index, str(path))
    return path


def usearch_file(path, keys):
    index = Index(ndim=DIM, metric="l2sq", dtype="f32")
    for at in np.random.default_rng(1).permutation(len(keys)):  # the order of rows is none of keys
        index.add(int(keys[at]), ROWS[at])
    index.save(str(path))
    return path


def stored(db):
    with requant.open(db) as opened:
        return {item.id: item for item in opened.collection("notes").iter()}


def check(db, ids, order=None):
    """Every item has the vector, the text and the year of its row."""
    items = stored(db)
    assert items.keys() == set(ids)
    for n, name in enumerate(ids):
        item = items[name]
        assert item.document == f"text {n}"
        assert item.metadata == {"year": 2000 + n}
        assert (item.vector == ROWS[n if order is None else order[n]]).all()


@pytest.fixture
def db(tmp_path):
    return tmp_path / "notes.requant"


ENDINGS = pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])


@ENDINGS
@pytest.mark.parametrize("batch", [4, 100])
def test_a_faiss_file_and_texts_row_by_row(tmp_path, db, ending, batch, capfd):
    names = [f"doc-{n}" for n in range(N)]
    items = texts(tmp_path / f"texts{ending}", names)
    command = ("import", flat(tmp_path / "a.faiss"), db, "notes", "--items", items)
    answer = run(*command, "--metadata", "all", "--batch", batch, "--json").json
    assert set(answer) == documented_keys("import")
    assert answer["items"] == {
        "file": str(items), "by": "row", "rows": N, "matched": N, "vectors_without_row": 0,
        "rows_without_vector": 0, "unmatched": "refuse",
    }  # fmt: skip
    assert (answer["metric"], answer["fidelity"], answer["not_taken"]) == ("l2", "exact", [])
    check(db, names)


@ENDINGS
def test_an_index_with_ids_of_its_own_and_texts_by_id(tmp_path, db, ending, capfd):
    order = np.random.default_rng(3).permutation(N)
    items = texts(tmp_path / f"texts{ending}", NUMBERS[order].tolist())
    source = flat(tmp_path / "a.faiss", NUMBERS)
    answer = run("import", source, db, "notes", "--items", items, "--metadata", "year", "--json")
    assert answer.json["items"]["by"] == "id"
    check(db, NUMBERS[order].tolist(), order)


def test_keys_of_usearch_are_numbers_of_rows_whatever_their_order(tmp_path, db):
    source = usearch_file(tmp_path / "a.usearch", range(N))
    items = texts(tmp_path / "texts.parquet", None)
    run("import", source, db, "notes", "--items", items, "--metadata", "all")
    check(db, range(N))
    named = texts(tmp_path / "named.parquet", [f"d{n}" for n in range(N)])
    other = tmp_path / "other.requant"
    run("import", source, other, "notes", "--items", named, "--metadata", "all")
    check(other, [f"d{n}" for n in range(N)])


def test_lists_of_faiss_keep_their_numbers(tmp_path, db, capfd):
    index = faiss.index_factory(DIM, "IVF4,Flat")
    index.train(ROWS)
    index.add(ROWS)  # stored list by list, which is another order
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    items = texts(tmp_path / "texts.jsonl", [f"d{n}" for n in range(N)])
    run("import", tmp_path / "a.faiss", db, "notes", "--items", items, "--metadata", "all")
    check(db, [f"d{n}" for n in range(N)])


@ENDINGS
@pytest.mark.parametrize("kind", ["npy", "npz", "parquet"])
def test_files_of_vectors_row_by_row(tmp_path, db, kind, ending):
    source = tmp_path / f"vectors.{kind}"
    if kind == "npy":
        npy(source, ROWS)
    elif kind == "npz":
        np.savez(source, vectors=ROWS)
    else:
        pq.write_table(pa.table({"vector": ROWS.tolist()}), source)
    items = texts(tmp_path / f"texts{ending}", [f"d{n}" for n in range(N)])
    command = ("import", source, db, "notes", "--items", items, "--metadata", "all")
    assert run(*command, "--batch", "7", "--json").json["items"]["by"] == "row"
    check(db, [f"d{n}" for n in range(N)])


def test_two_files_of_columns_by_id(tmp_path, db):
    names = [f"d{n}" for n in range(N)]
    source = tmp_path / "v.parquet"
    pq.write_table(pa.table({"id": names[::-1], "vector": ROWS[::-1].tolist()}), source)
    items = texts(tmp_path / "t.csv", names)
    answer = run("import", source, db, "notes", "--items", items, "--metadata", "all", "--json")
    assert answer.json["items"]["by"] == "id"
    check(db, names)


def test_a_lancedb_table_and_a_qdrant_shard(tmp_path, db):
    source = lance(tmp_path)
    n = 50
    items = jsonl(tmp_path / "i.jsonl", [{"id": f"k{i}", "text": f"t{i}"} for i in range(n)])
    assert run("import", source, db, "notes", "--items", items, "--json").json["rows"] == n
    assert stored(db)["k7"].document == "t7"
    rows = [{"id": str(uuid.UUID(int=i + 1)), "text": f"new {i}"} for i in range(n)]
    items = jsonl(tmp_path / "j.jsonl", rows)
    other = tmp_path / "other"
    run("import", shard(tmp_path), other, "notes", "--items", items)
    assert stored(other)[uuid.UUID(int=3)].document == "new 2"


def test_what_does_not_fit_by_id_is_told_and_nothing_is_stored(tmp_path, db, capfd):
    items = texts(tmp_path / "t.jsonl", [*NUMBERS[:25].tolist(), "x", "y"])
    source = flat(tmp_path / "a.faiss", NUMBERS)
    command = ("import", source, db, "notes", "--items", items, "--metadata", "all")
    error = refused(*command)
    assert f"5 of its vectors have no row there (id '{NUMBERS[25]}', '{NUMBERS[26]}'" in error
    assert "2 rows there have no vector (row 25 (id 'x'), row 26 (id 'y'))" in error
    assert "--unmatched skip" in error
    assert not db.exists()
    answer = run(*command, "--unmatched", "skip", "--batch", "6", "--json").json
    assert answer["rows"] == 25
    told = answer["items"]
    assert (told["matched"], told["vectors_without_row"], told["rows_without_vector"]) == (25, 5, 2)
    check(db, NUMBERS[:25].tolist())
    answer = run(*command, "--unmatched", "keep", "--batch", "6", "--json").json
    assert (answer["rows"], answer["without_vector"]) == (N + 2, 2)
    kept = stored(db)
    assert kept[int(NUMBERS[29])].document is None
    assert (kept[int(NUMBERS[29])].vector == ROWS[29]).all()
    assert (kept["x"].document, kept["x"].vector) == ("text 25", None)


@pytest.mark.parametrize("count", [N - 1, N + 1])
def test_files_of_unequal_length_are_refused_by_row(tmp_path, db, count, capfd):
    items = jsonl(tmp_path / "t.jsonl", [{"text": f"t{n}"} for n in range(count)])
    error = refused("import", flat(tmp_path / "a.faiss"), db, "notes", "--items", items)
    assert f"a.faiss has {N} rows" in error
    assert f"t.jsonl has {count}: they belong together row by row" in error
    assert not db.exists()


def test_numbers_that_may_be_ids_or_rows_have_to_be_said(tmp_path, db, capfd):
    order = np.roll(np.arange(N), 3)
    items = texts(tmp_path / "t.parquet", order.tolist())
    command = ("import", flat(tmp_path / "a.faiss"), db, "notes", "--items", items)
    command = (*command, "--metadata", "all")
    assert "say with --items-by id or --items-by row" in refused(*command)
    run(*command, "--items-by", "row")
    check(db, order.tolist())
    other = tmp_path / "other"
    command = (*command[:2], other, *command[3:])
    run(*command, "--items-by", "id")
    check(other, order.tolist(), order)


def test_the_same_numbers_in_order_are_no_question(tmp_path, db):
    items = texts(tmp_path / "t.parquet", range(N))
    command = ("import", flat(tmp_path / "a.faiss"), db, "notes", "--items", items)
    run(*command, "--metadata", "all")
    check(db, range(N))


@ENDINGS
def test_ids_that_occur_twice_are_told_with_their_rows(tmp_path, db, ending):
    names = [f"d{n}" for n in range(N)]
    names[9], names[20] = names[4], names[2]
    items = texts(tmp_path / f"t{ending}", names)
    error = refused("import", npy(tmp_path / "v.npy", ROWS), db, "notes", "--items", items)
    assert "2 ids occur more than once" in error
    assert "'d2' in rows 2 and 20, 'd4' in rows 4 and 9" in error
    assert not db.exists()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"id": "a", "text": 5}], "t.jsonl row 0 (line 1): the document is a int"),
        ([{"id": "a"}, {"id": None}], "t.jsonl row 1 (line 2): no id in column 'id'"),
        ([{"id": "a"}, {"id": 0.5}], "t.jsonl row 1 (line 2): the id is a float"),
        ([{"id": "a", "metadata": [1]}], "t.jsonl row 0 (line 1): the metadata is a list"),
        ([{"id": "a", "text": "x\0y"}], "t.jsonl row 0 (line 1): the document holds a NUL"),
    ],
)
def test_a_bad_row_of_items_is_found_before_anything_is_stored(tmp_path, db, rows, reason):
    items = jsonl(tmp_path / "t.jsonl", rows)
    error = refused("import", npy(tmp_path / "v.npy", ROWS[:2]), db, "notes", "--items", items)
    assert reason in error
    assert not db.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--items-by", "id"), "v.npy has no ids to join by"),
        (("--ids", "nix"), "has no column 'nix' (--ids)"),
        (("--documents", "nix"), "has no column 'nix' (--documents)"),
        (("--items-by", "both"), "--items-by"),
        (("--unmatched", "drop"), "--unmatched"),
    ],
)
def test_options_that_make_no_sense(tmp_path, db, options, reason):
    items = texts(tmp_path / "t.jsonl", [f"d{n}" for n in range(N)])
    source = npy(tmp_path / "v.npy", ROWS)
    assert reason in refused("import", source, db, "notes", "--items", items, *options)
    assert "name their file" in refused("import", source, db, "notes", "--unmatched", "keep")
    assert not db.exists()


def test_an_index_with_ids_needs_ids_in_the_items(tmp_path, db, capfd):
    items = texts(tmp_path / "t.jsonl", None)
    source = flat(tmp_path / "a.faiss", NUMBERS)
    error = refused("import", source, db, "notes", "--items", items)
    assert "these are no numbers of rows" in error
    error = refused("import", shard(tmp_path), db, "notes", "--items", items)
    assert "has ids that are no row numbers" in error


def test_columns_of_which_nothing_is_made_are_named(tmp_path, db):
    items = texts(tmp_path / "t.parquet", [f"d{n}" for n in range(N)], lang=["en"] * N)
    said = run("import", npy(tmp_path / "v.npy", ROWS), db, "notes", "--items", items).out
    assert "Not taken: year, lang; --metadata all or --metadata NAME keeps them." in said
    assert "Joined by row with" in said
    source = tmp_path / "v.parquet"
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]], "extra": [1]}), source)
    assert "Not taken: extra" in run("import", source, tmp_path / "other", "notes").out


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, db, monkeypatch):
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    items = texts(tmp_path / "t.jsonl", [f"d{n}" for n in range(N)])
    source = npy(tmp_path / "v.npy", ROWS)
    run("import", source, db, "notes", "--items", items)
    refused("import", npy(tmp_path / "w.npy", ROWS[:4]), db, "notes", "--items", items)
    assert list(place.iterdir()) == []


def test_memory_stays_bounded(tmp_path):
    count = 30_000
    source = npy(tmp_path / "v.npy", np.ones((count, 4), np.float32))
    with (tmp_path / "t.jsonl").open("w") as file:
        for n in range(count):
            file.write(json.dumps({"id": f"d{n}", "text": "x" * 400}) + "\n")
    with requant.open(tmp_path / "db") as db:
        db.create_collection("notes", 4)
        tracemalloc.start()
        requant.import_items(source, db, "notes", items=tmp_path / "t.jsonl", batch=500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(db.collection("notes")) == count
    assert peak < 8e6 < count * 400


# The twin in Python


def test_the_twin_answers_with_the_same_report(tmp_path, db):
    items = texts(tmp_path / "t.parquet", [f"d{n}" for n in range(N)])
    source = npy(tmp_path / "v.npy", ROWS)
    seen = []
    report = requant.import_items(
        source, db, "notes", items=items, metadata="all", batch=20,
        progress=lambda *told: seen.append(told),
    )  # fmt: skip
    check(db, [f"d{n}" for n in range(N)])
    assert seen == [(20, N), (30, N)]
    other = tmp_path / "other"
    command = ("import", source, other, "notes", "--items", items, "--metadata", "all", "--json")
    answer = run(*command).json
    assert vars(report) == {**answer, "database": str(db)}
    with requant.open(db) as opened:
        again = requant.import_items(source, opened, "notes", items=items, metadata=["year"])
        assert (again.rows, again.new, again.replaced, again.database) == (N, 0, N, None)


def test_the_twin_raises_what_was_wrong(tmp_path, db):
    rows = [{"id": f"d{n}", "vector": row} for n, row in enumerate(ROWS.tolist())]
    rows[20]["vector"] = [1.0]
    source = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(
        ImportIncompleteError, match=r"row 20 .*; 16 rows are stored, run"
    ) as caught:
        requant.import_items(source, db, "notes", batch=8)
    report = caught.value.report
    assert (report.rows, report.new, report.complete) == (16, 16, False)
    assert "row 20 (line 21): the vector has 1 dimensions" in report.error
    with pytest.raises(SourceError, match="row 20"):
        requant.import_items(source, tmp_path / "other", "notes")
    assert not (tmp_path / "other").exists()
    for wrong in ({"items_by": "x"}, {"unmatched": "x"}, {"batch": 0}, {"items_by": "id"}):
        with pytest.raises(requant.InputError):
            requant.import_items(source, db, "notes", **wrong)
    with pytest.raises(requant.InputError, match="in memory is gone"):
        requant.import_items(source, ":memory:", "notes")


def test_how_it_is_opened_is_not_said_of_an_open_database(tmp_path, db):
    source = npy(tmp_path / "v.npy", ROWS)
    with requant.open(db) as opened:
        for options in ({"trust": ["https://qdrant.example:6333"]}, {"folder": tmp_path}):
            with pytest.raises(requant.InputError, match="this one is open already"):
                requant.import_items(source, opened, "notes", **options)
        assert opened.collections() == []
    with pytest.raises(requant.InputError, match="trust must be a list"):
        requant.import_items(source, db, "notes", trust="https://qdrant.example:6333")
    with pytest.raises(requant.InputError, match="on_conflict must be 'replace' or 'skip'"):
        requant.import_items(source, db, "notes", on_conflict="add")
    trust = ["https://qdrant.example:6333"]
    assert requant.import_items(source, db, "notes", trust=trust).new == N
    report = requant.import_items(source, db, "notes", on_conflict="skip")
    assert (report.rows, report.skipped) == (0, N)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_an_index_whose_texts_were_joined_by_row_is_attached_by_the_same_file(
    tmp_path, db, ending, capfd
):
    """The lines of the README: the index knows numbers of rows, the collection ids of texts."""
    names = [f"doc-{n}" for n in range(N)]
    index, items = flat(tmp_path / "a.faiss"), texts(tmp_path / f"t{ending}", names)
    run("import", index, db, "notes", "--items", items)
    attach = ("index", "attach", db, "notes", "theirs", index)
    assert "calls them otherwise" in refused(*attach)
    assert run(*attach, "--ids", items, "--json").json["recall"] == 1
    with requant.open(db) as opened:
        assert [hit.id for hit in opened.collection("notes").search(ROWS[3], 1)] == ["doc-3"]
    more = jsonl(tmp_path / "x.jsonl", [{"name": "a"}])
    assert "has no column `id` or `ids`" in refused(*attach[:4], "other", index, "--ids", more)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed by Linux")
def test_a_file_is_closed_whoever_keeps_the_error(tmp_path):
    rows = [{"id": str(row), "vector": [1.0 if row != 5 else float("inf")]} for row in range(90)]
    source = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(ImportIncompleteError, match="inf") as kept:
        requant.import_items(source, tmp_path / "a.requant", "notes", batch=2)
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert str(source) not in [str(link.readlink()) for link in links]
    assert kept.tb is not None  # and with it whoever was reading
