"""What `export` writes comes back whole, whatever the format: ids, texts, metadata, lengths."""

from __future__ import annotations

import gzip
import json
import uuid

import numpy as np
import pytest

import requant
from requant.integration.errors import SourceError
from requant.integration.export.job import FORMATS
from tests.cli import floats, refused, run

N, DIM = 40, 8
UUIDS = [uuid.UUID(int=10**20 + n) for n in range(N)]
IDS = {
    "text": [f"t{n}" for n in range(N)],
    "int": list(range(5, 5 + N)),
    "uuid": UUIDS,
    # A text that looks like a number or a UUID is a text.
    "mixed": [[f"t{n}", n - 20, UUIDS[n], str(UUIDS[n]), str(1000 + n)][n % 5] for n in range(N)],
}
METADATA = [
    None,
    {},
    {"year": 2024, "tags": ["a", None], "deep": {"x": [1, 2.5]}},
    {"id": "mine", "document": "d", "text": 5, "vector": [1], "label": 3, "id_type": "x"},
    {"big": 2**70, "requant_norm": 0.5, "requant_metadata": "{", "日本": True},
]


def fill(notes, ids):
    rows = floats(N, DIM) * np.linspace(0.01, 300, N, dtype=np.float32)[:, None]
    rows[7] = 0
    documents = [None if n % 3 == 0 else f"text {n} 日本" for n in range(N)]
    metadata = [METADATA[n % 5] for n in range(N)]
    notes.upsert(ids[:-2], rows[:-2], documents[:-2], metadata[:-2])
    notes.upsert(ids[-2:], None, ["no vector", None], [{"a": 1}, None])


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("format", FORMATS)
def test_everything_comes_back(tmp_path, format, metric, kind, capfd):
    with requant.open(tmp_path / "a.requant") as db:
        notes = db.create_collection("notes", DIM, metric)
        fill(notes, IDS[kind])
        target = notes.export(tmp_path / "out", format=format, batch=7).target
        before = {item.id: item for item in notes.iter()}
    report = requant.import_items(target, tmp_path / "b.requant", "notes", batch=9)
    assert (report.rows, report.metric, report.fidelity) == (N, metric, "exact")
    with requant.open(tmp_path / "b.requant") as db:
        after = {item.id: item for item in db.collection("notes").iter()}
    assert after.keys() == before.keys()
    assert {type(name) for name in after} == {type(name) for name in before}
    for name, item in before.items():
        back = after[name]
        assert (back.document, back.metadata) == (item.document, item.metadata)
        assert (back.vector is None) == (item.vector is None)
        if item.vector is None:
            continue
        if metric == "cosine" and format in ("faiss", "qdrant"):  # kept at length 1
            assert np.allclose(back.vector, item.vector, rtol=1e-6, atol=1e-6 * 300)
        else:
            assert back.vector.tobytes() == item.vector.tobytes()


@pytest.mark.parametrize("format", ["faiss", "usearch"])
def test_items_of_another_index_are_refused(tmp_path, format, capfd):
    with requant.open(tmp_path / "a.requant") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes, IDS["text"])
        notes.export(tmp_path / "one", format=format)
        notes.export(tmp_path / "two", format=format, where={"year": 2024})
    (tmp_path / "two.items.jsonl.gz").replace(tmp_path / "one.items.jsonl.gz")
    error = refused("import", tmp_path / "one", tmp_path / "b.requant", "notes")
    assert "does not tell of the vectors in" in error
    assert "move it away" in error
    assert not (tmp_path / "b.requant").exists()


@pytest.mark.parametrize("format", ["faiss", "usearch"])
def test_items_of_an_index_that_was_made_anew_are_refused(tmp_path, format, capfd):
    with requant.open(tmp_path / "a.requant") as db:
        notes = db.create_collection("notes", DIM, "l2")
        fill(notes, IDS["text"])
        notes.export(tmp_path / "one", format=format)
        whole = (tmp_path / "one.items.jsonl.gz").read_bytes()
        notes.upsert(["t3"], floats(1, DIM, seed=5))  # as many vectors, one of them another
        notes.export(tmp_path / "one", format=format, overwrite=True)
    run("import", tmp_path / "one", tmp_path / "b.requant", "notes")
    (tmp_path / "one.items.jsonl.gz").write_bytes(whole)
    error = refused("import", tmp_path / "one", tmp_path / "c.requant", "notes")
    assert "does not tell of the vectors in" in error


def test_a_damaged_file_of_items_is_refused(tmp_path, capfd):
    with requant.open(tmp_path / "a.requant") as db:
        fill(db.create_collection("notes", DIM, "l2"), IDS["text"])
        db.collection("notes").export(tmp_path / "one", format="faiss")
    beside = tmp_path / "one.items.jsonl.gz"
    lines = gzip.decompress(beside.read_bytes()).splitlines(keepends=True)
    beside.write_bytes(gzip.compress(b"".join(lines[:5]) + b'{"label": 5, "id": 0.5}\n'))
    with pytest.raises(SourceError, match=r"row 5 \(line 6\): the id is a float"):
        requant.import_items(tmp_path / "one", tmp_path / "b.requant", "notes")
    beside.write_bytes(beside.read_bytes()[:-9])
    with pytest.raises(SourceError, match="cannot be read"):
        requant.import_items(tmp_path / "one", tmp_path / "b.requant", "notes")


def test_the_twin_answers_as_the_command_does(tmp_path):
    with requant.open(tmp_path / "a.requant") as db:
        fill(db.create_collection("notes", DIM), IDS["int"])
        report = db.collection("notes").export(tmp_path / "one", format="parquet")
    answer = run(
        "export", tmp_path / "a.requant", "notes", tmp_path / "two", "--to", "parquet", "--json"
    ).json
    told = {key: value for key, value in vars(report).items() if key not in ("target", "seconds")}
    assert told == {key: answer[key] for key in told}
    assert json.dumps(told)
