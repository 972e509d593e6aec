"""`requant import` of indexes and stores that other software made."""

from __future__ import annotations

import subprocess
import sys
import uuid

import faiss
import lancedb
import numpy as np
import pyarrow as pa
import pytest
import qdrant_edge as edge
from usearch.index import Index

import requant
from requant.integration.readers import Tally, Wanted, open_foreign, store
from tests.cli import documented_keys, floats, only_error, refused, run

N, DIM = 50, 8
ROWS = floats(N, DIM)
UNITS = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
IDS = np.arange(N) * 5 + 2**55


@pytest.fixture
def db(tmp_path):
    return tmp_path / "notes.requant"


def faiss_file(folder, spec="IVF4,Flat", rows=ROWS, metric=faiss.METRIC_L2, name="a.faiss"):
    index = faiss.index_factory(DIM, spec, metric)
    index.train(rows)
    index.add_with_ids(rows, IDS)
    faiss.write_index(index, str(folder / name))
    return folder / name


def usearch_file(folder, dtype="f32"):
    index = Index(ndim=DIM, metric="ip", dtype=dtype)
    index.add(IDS, ROWS)
    index.save(str(folder / "a.usearch"))
    return folder / "a.usearch"


def shard(folder):
    path = folder / "shard"
    path.mkdir()
    params = edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine)
    opened = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=params))
    points = [
        edge.Point(str(uuid.UUID(int=i + 1)), row.tolist(), {"text": f"t{i}", "n": None})
        for i, row in enumerate(ROWS)
    ]
    opened.update(edge.UpdateOperation.upsert_points(points))
    opened.close()
    return path


def lance(folder, **columns):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), DIM)
    data = pa.table({"id": [f"k{i}" for i in range(N)], "vector": vectors, **columns})
    lancedb.connect(folder / "lance").create_table("notes", data)
    return folder / "lance" / "notes"


def stored(db):
    with requant.open(db) as opened:
        notes = opened.collection("notes")
        return notes.metric, {item.id: item for item in notes.iter()}


def test_a_faiss_file(tmp_path, db, capfd):
    answer = run("import", faiss_file(tmp_path), db, "notes", "--batch", "7", "--json").json
    assert set(answer) == documented_keys("import")
    assert answer["kind"] == "FAISS file (IndexIVFFlat)"
    assert (answer["fidelity"], answer["notes"], answer["columns"]) == ("exact", [], None)
    assert (answer["rows"], answer["new"], answer["metric"], answer["dim"]) == (N, N, "l2", DIM)
    metric, items = stored(db)
    assert metric == "l2"
    assert items.keys() == set(IDS.tolist())
    assert all((items[i].vector == row).all() for i, row in zip(IDS.tolist(), ROWS, strict=True))
    # Once more is no harm.
    answer = run("import", tmp_path / "a.faiss", db, "notes", "--json").json
    assert (answer["new"], answer["replaced"]) == (0, N)


def test_what_it_says_to_people(tmp_path, db, capfd):
    said = run("import", shard(tmp_path), db, "notes")
    assert "Source: Qdrant edge shard; vectors: normalised." in said.out
    assert "Note: Qdrant normalised the vectors: their lengths are lost." in said.out
    assert said.err == ""
    metric, items = stored(db)
    assert metric == "cosine"
    item = items[uuid.UUID(int=3)]
    assert (item.document, item.metadata) == ("t2", {"n": None})
    assert np.allclose(item.vector, UNITS[2], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bf16", "i8"])
def test_a_lossy_source_is_a_warning_on_stderr(tmp_path, db, dtype):
    said = run("import", usearch_file(tmp_path, dtype), db, "notes", "--json")
    assert said.json["fidelity"] == "lossy"
    (line,) = said.err.splitlines()
    assert line.startswith(f"warning: {tmp_path / 'a.usearch'}: its vectors are made from")
    assert line.endswith("for exact results embed the documents again")


def test_columns_of_a_lancedb_table(tmp_path, db):
    source = lance(tmp_path, body=[f"text {i}" for i in range(N)], n=[2**60 + i for i in range(N)])
    options = ("--documents", "body", "--metadata", "n")
    assert run("import", source, db, "notes", *options, "--json").json["metric"] == "cosine"
    _, items = stored(db)
    assert (items["k7"].document, items["k7"].metadata) == ("text 7", {"n": 2**60 + 7})
    assert (items["k7"].vector == ROWS[7]).all()


def test_metric_of_the_source_unless_given(tmp_path, db):
    source = usearch_file(tmp_path)
    assert run("import", source, db, "notes", "--json").json["metric"] == "ip"
    other = tmp_path / "other.requant"
    answer = run("import", source, other, "notes", "--metric", "l2", "--json").json
    assert answer["metric"] == "l2"
    # Into a collection that is there already, and compares in another way.
    said = run("import", faiss_file(tmp_path), db, "notes")
    assert "warning: the source compares by l2, collection 'notes' by ip" in said.err


def test_a_repeated_id_stops_midway(tmp_path, db, capfd):
    ids = IDS.copy()
    ids[40] = ids[2]
    index = faiss.IndexIDMap(faiss.IndexFlatL2(DIM))
    index.add_with_ids(ROWS, ids)
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    command = ("import", tmp_path / "a.faiss", db, "notes", "--batch")
    assert f"id '{ids[2]}' occurs a second time" in refused(*command, "100")
    assert not db.exists()
    error = only_error(run(*command, "10", code=1))
    assert "40 rows are stored" in error


def test_a_bad_vector_is_named(tmp_path, db, capfd):
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(DIM))
    index.add_with_ids(rows, IDS)
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    error = refused("import", tmp_path / "a.faiss", db, "notes")
    assert f"a.faiss row 3 (id {IDS[3]}): the vector holds nan in dimension 1" in error


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--ids", "x"), "nothing for --ids to name"),
        (("--metadata", "all"), "nothing for --metadata to name"),
        (("--items", "{tmp}/i.jsonl"), "i.jsonl has 1: they belong together row by row"),
    ],
)
def test_options_that_make_no_sense(tmp_path, db, capfd, option, reason):
    (tmp_path / "i.jsonl").write_text("{}\n")
    filled = [part.format(tmp=tmp_path) for part in option]
    assert reason in refused("import", faiss_file(tmp_path), db, "notes", *filled)
    assert not db.exists()


def test_an_empty_index(tmp_path, db):
    faiss.write_index(faiss.IndexFlatL2(DIM), str(tmp_path / "a.faiss"))
    assert "holds no rows" in refused("import", tmp_path / "a.faiss", db, "notes")


@pytest.mark.parametrize(
    ("package", "make", "extra"),
    [
        ("faiss", faiss_file, "faiss"),
        ("qdrant_edge", shard, "qdrant"),
        ("lancedb", lance, "lancedb"),
    ],
)
def test_a_missing_engine_is_named(tmp_path, db, monkeypatch, capfd, package, make, extra):
    source = make(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install 'requant[{extra}]'" in refused("import", source, db, "notes")


def test_usearch_files_need_no_usearch(tmp_path, db, monkeypatch):
    source = usearch_file(tmp_path)
    monkeypatch.setitem(sys.modules, "usearch", None)
    assert run("import", source, db, "notes", "--json").json["rows"] == N


def test_no_engine_is_imported_to_recognise_a_source():
    code = (
        "import sys\nfrom requant.integration.readers import Wanted, open_foreign\n"
        "assert open_foreign('x.npy', Wanted()) is None\n"
        "assert not {'faiss', 'usearch', 'qdrant_client', 'qdrant_edge', 'lancedb', 'pyarrow'} "
        "& sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_in_python(tmp_path, db, capfd):
    source = open_foreign(faiss_file(tmp_path), Wanted())
    with requant.open(db) as opened:
        notes = opened.create_collection("notes", source.dim, source.metric)
        tally = Tally()
        store(notes, source.batches(20), tally)
    source.close()
    assert (tally.rows, tally.new) == (N, N)


def test_an_imported_collection_answers_as_the_index_did(tmp_path, db, capfd):
    path = faiss_file(tmp_path, "IDMap2,Flat", UNITS, faiss.METRIC_INNER_PRODUCT)
    assert run("import", path, db, "notes", "--json").json["metric"] == "cosine"
    expected = faiss.read_index(str(path)).search(UNITS[:5], 3)
    with requant.open(db) as opened:
        found = opened.collection("notes").search_many(UNITS[:5], k=3)
    assert found.ids == expected[1].tolist()
    assert np.allclose(found.scores, expected[0], atol=1e-6)
