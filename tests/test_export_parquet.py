"""A collection to Parquet and back: every bit, and every fault of the folder found before a row."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import requant
from requant.errors import CorruptDataError, ExistsError, FilterError, InputError
from requant.integration.errors import SourceError
from requant.integration.export import export, manifest, parquet_files, read_back
from requant.integration.export.indexes import shareable
from requant.integration.export.recognising import is_export, open_export
from requant.integration.readers import Tally, Wanted, open_foreign, store
from tests.databases import expected, held, metadata, vectors
from tests.inside import normalise

ODD = [
    ("text", "x", {"b": 1, "a": [1.0, 1, None, True, {"z": {}, "y": []}], "": "no name"}),
    (7, None, None),
    ("-0", "", {}),
    (uuid.UUID(int=5), "ü \U0001f600 \n \\u0000", {"big": 2**80, "least": -(2**63) - 1}),
    (2**70, "sixteen", {"n": 2**53 + 1, "f": 1e300, "tiny": 5e-324, "zero": -0.0}),
    (-3, "minus", {"document": "d", "id": 5, "vector": [1]}),
    (str(uuid.UUID(int=6)), "a text that looks like a UUID", {"é\u0301": "e\u0301"}),
]


def fill(collection, n=60):
    """Store what is hard to carry: odd items, floats at the edges, items without vectors."""
    dim = collection.dim
    floats = vectors(len(ODD), dim)
    floats[0, :4] = [-0.0, 1e-45, np.finfo(np.float32).max, 2**-149]
    names, documents, entries = zip(*ODD, strict=True)
    collection.upsert(names[:3], floats[:3], documents[:3], entries[:3])
    collection.upsert(["alone"], None, ["no vector"], [{"only": "text"}])
    collection.upsert(names[3:], floats[3:], documents[3:], entries[3:])
    collection.upsert(["bare"], None)
    collection.upsert([f"n{i}" for i in range(n)], vectors(n, dim, 1), metadata=metadata(n))
    collection.delete(["n3", "n10"])
    return collection


@pytest.fixture
def notes(db):
    return fill(db.create_collection("notes", 8, "l2"))


def rows(db, name="notes"):
    """Every item as the tables have it, in order: id and its kind, texts, bytes of the vector."""
    items, bits = (sa.table(f"requant_{t}", *map(sa.column, columns)) for t, columns in TABLES)
    number = sa.select(sa.text(f"id FROM requant_collections WHERE name = '{name}'"))
    engine = sa.create_engine(db.engine.url)
    with engine.connect() as connection:
        owner = connection.execute(number).scalar_one()
        columns = (*(items.c[c] for c in TABLES[0][1][2:]), bits.c.vec, bits.c.crc)
        joined = items.outerjoin(bits, bits.c.key == items.c.key)
        statement = sa.select(*columns).select_from(joined).where(items.c.collection_id == owner)
        found = connection.execute(statement.order_by(items.c.key)).all()
    engine.dispose()
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found]


TABLES = (
    ("items", ("key", "collection_id", "ext_id", "id_kind", "document", "metadata")),
    ("vectors", ("key", "vec", "crc")),
)


def restore(folder, db, name="notes", size=7):
    """Read an export back into a new collection."""
    source = read_back(folder)
    collection = db.create_collection(name, source.dim, source.metric)
    store(collection, source.batches(size), Tally())
    return collection


@pytest.mark.parametrize("batch", [1, 9, 1000])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_round_trip_loses_nothing(notes, db, tmp_path, batch, size):
    report = export(notes, tmp_path / "out", format="parquet", batch=batch)
    assert (report.rows, report.without_vector, report.left_out) == (len(notes), 2, 0)
    assert report.notes == []
    with requant.open(tmp_path / "other.requant") as other:
        back = restore(tmp_path / "out", other, size=size)
        assert rows(other) == rows(db)
        assert (back.dim, back.metric) == (8, "l2")
        for mine, theirs in zip(back.iter(), notes.iter(), strict=True):
            assert type(mine.id) is type(theirs.id)
            assert json.dumps(mine.metadata) == json.dumps(theirs.metadata)


def test_a_round_trip_on_every_database(any_db, tmp_path):
    fill(any_db.create_collection("notes", 8, "ip"))
    export(any_db.collection("notes"), tmp_path / "out", format="parquet")
    restore(tmp_path / "out", any_db, "copy")
    assert rows(any_db, "copy") == rows(any_db)


def test_several_files_and_row_groups(notes, db, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 1000)
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 2500)
    export(notes, tmp_path / "out", format="parquet", batch=4)
    told = read_back(tmp_path / "out").manifest
    assert len(told.files) > 2
    keys = [(entry.min_key, entry.max_key) for entry in told.files]
    assert all(a[1] < b[0] for a, b in pairwise(keys))
    stored = [item.key for item in notes.iter()]
    assert (keys[0][0], keys[-1][1]) == (stored[0], stored[-1])
    assert max(pq.ParquetFile(tmp_path / "out" / e.name).num_row_groups for e in told.files) > 1
    with requant.open(tmp_path / "other.requant") as other:
        restore(tmp_path / "out", other)
        assert rows(other) == rows(db)


def test_plain_parquet_has_the_columns_that_are_told(notes, tmp_path):
    export(notes, tmp_path / "out", format="parquet")
    table = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.schema.names == ["id", "id_type", "vector", "document", "metadata"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 8)
    found = table.to_pylist()
    assert [row["id_type"] for row in found[:5]] == ["str", "int", "str", "str", "uuid"]
    assert [row["id"] for row in found if row["vector"] is None] == ["alone", "bare"]
    assert found[1]["metadata"] is None
    assert found[2]["metadata"] == "{}"


def test_the_manifest_tells_of_indexes_and_makes_the_same_codes(db, tmp_path):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(300), vectors(300))
    notes.add_index("int8", precision="int8")
    notes.add_index("bits", engine="usearch", precision="binary", params={"connectivity": 8})
    notes.add_index("st", precision="uint8", dialect="sentence-transformers")
    notes.use_index("bits")
    export(notes, tmp_path / "out", format="parquet")
    told = read_back(tmp_path / "out").manifest
    assert [(i["name"], i["engine"], i["precision"], i["active"]) for i in told.indexes] == [
        ("int8", "faiss", "int8", False),
        ("bits", "usearch", "binary", True),
        ("st", "faiss", "uint8", False),
    ]
    assert told.indexes[1]["params"] == {"connectivity": 8}
    assert np.array(told.indexes[2]["quantizer"]["ranges"]).shape == (2, 8)
    codes = held(notes)
    assert expected(notes) == codes
    unit = normalise(np.stack([item.vector for item in notes.iter()]))
    for name, quantizer in told.quantizers().items():
        again = [code.tobytes() for code in quantizer.encode(unit)]
        assert again == list(codes[name].values())


def test_secrets_and_places_of_indexes_are_not_told():
    params = {"m": 8, "api_key": "x", "storage_options": {"a": 1}, "deep": {"TOKEN": 1, "n": 2}}
    assert shareable(params) == {"m": 8, "deep": {"n": 2}}


def test_lengths_and_normalised(db, tmp_path):
    notes = db.create_collection("notes", 2)
    notes.upsert(["a", "b"], [[3, 4], [0, 0]])
    export(notes, tmp_path / "a", format="parquet")
    told = read_back(tmp_path / "a").manifest
    assert (told.lengths, told.normalised, told.dtype) == ((0.0, 5.0), False, "float32")
    notes.upsert(["a", "b"], [[0.6, 0.8], [1, 0]])
    export(notes, tmp_path / "b", format="parquet")
    assert read_back(tmp_path / "b").manifest.normalised is True


def test_an_empty_collection(db, tmp_path):
    notes = db.create_collection("notes", 3, "ip")
    report = export(notes, tmp_path / "out", format="parquet")
    assert report.rows == 0
    source = read_back(tmp_path / "out")
    assert (source.dim, source.metric, source.rows, list(source.batches(5))) == (3, "ip", 0, [])
    assert (source.manifest.lengths, source.manifest.normalised) == (None, None)


def test_a_filter_is_told_of(notes, tmp_path):
    done = []
    where = {"n": {"$lt": 20}}
    report = export(
        notes, tmp_path / "out", format="parquet", where=where, batch=6,
        progress=lambda *step: done.append(step),
    )  # fmt: skip
    assert report.rows == 18
    assert done == [(0, 18), (6, 18), (12, 18), (18, 18)]
    source = read_back(tmp_path / "out")
    assert [i for b in source.batches(100) for i in b.ids] == [
        f"n{i}" for i in range(20) if i not in (3, 10)
    ]
    assert source.notes == ['these are the items that met {"n": {"$lt": 20}}, not all']


def test_a_snapshot_is_exported_whatever_is_written_meanwhile(notes, db, tmp_path):
    before = rows(db)

    def write(done, total):
        notes.upsert([f"new{done}", "n5"], vectors(2, seed=done))
        notes.delete(["n50"])

    export(notes, tmp_path / "out", format="parquet", batch=5, progress=write)
    with requant.open(tmp_path / "other.requant") as other:
        restore(tmp_path / "out", other)
        assert rows(other) == before


def test_a_damaged_vector_is_not_exported(notes, db, tmp_path):
    with db.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE requant_vectors SET crc = crc + 1 "
            "WHERE key = (SELECT max(key) FROM requant_vectors)"
        )
    with pytest.raises(CorruptDataError, match="differs from its checksum"):
        export(notes, tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wish", "error", "text"),
    [
        ({"format": "csv"}, InputError, "no format 'csv': choose one of parquet, faiss"),
        ({"index_type": "hnsw"}, InputError, "only faiss has a choice"),
        ({"batch": 0}, InputError, "batch must be"),
        ({"where": {"n": {"$no": 1}}}, FilterError, "no"),
    ],
)
def test_what_cannot_be_asked(notes, tmp_path, wish, error, text):
    with pytest.raises(error, match=text):
        export(notes, tmp_path / "deep" / "out", **{"format": "parquet", **wish})
    assert not (tmp_path / "deep").exists()


# Reading back


@pytest.fixture
def folder(notes, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 3000)
    export(notes, tmp_path / "out", format="parquet", batch=8)
    assert (tmp_path / "out" / "part-00001.parquet").exists()
    return tmp_path / "out"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << (at % 8)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-00001.parquet", "manifest.json"])
def test_one_flipped_bit_anywhere_is_found(folder, tmp_path, name):
    size = (folder / name).stat().st_size
    for at in np.random.default_rng(0).choice(size, 40, replace=False).tolist():
        broken = tmp_path / f"flip{at}"
        shutil.copytree(folder, broken)
        flip(broken / name, at)
        with pytest.raises(SourceError, match=name):
            read_back(broken)


def doctored(folder, change):
    """Write a manifest anew, as if it had been made that way."""
    told = manifest.read(folder)
    change(told.files)
    manifest.write(folder, told)


def test_a_missing_or_truncated_file(folder):
    part = folder / "part-00001.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.raises(SourceError, match=r"part-00001.parquet has \d+ bytes, \d+ were written"):
        read_back(folder)
    part.unlink()
    with pytest.raises(SourceError, match=r"part-00001.parquet is missing"):
        read_back(folder)
    (folder / "manifest.json").unlink()
    assert not is_export(str(folder))
    with pytest.raises(SourceError, match=r"manifest.json cannot be read"):
        read_back(folder)


def test_rows_ids_and_names_that_cannot_be(folder):
    doctored(folder, lambda files: files.append(replace(files[0], name="../x.parquet")))
    with pytest.raises(SourceError, match="names a file that cannot be"):
        read_back(folder)
    doctored(folder, lambda files: files.pop())
    shutil.copy(folder / "part-00000.parquet", folder / "copy.parquet")
    with pytest.raises(SourceError, match=r"copy.parquet is not in the manifest"):
        read_back(folder)
    doctored(folder, lambda files: files.append(replace(files[0], name="copy.parquet")))
    with pytest.raises(SourceError, match=r"copy.parquet row 0: id 'text' occurs a second time"):
        read_back(folder)
    (folder / "copy.parquet").unlink()
    doctored(folder, lambda files: files.pop())
    doctored(folder, lambda files: files.__setitem__(0, replace(files[0], rows=3)))
    with pytest.raises(SourceError, match=r"part-00000.parquet holds \d+ rows, the manifest tells"):
        read_back(folder)


def test_a_newer_format_says_so(folder, monkeypatch):
    told = manifest.read(folder)
    monkeypatch.setattr(manifest, "VERSION", 2)
    manifest.write(folder, told)
    monkeypatch.undo()
    with pytest.raises(SourceError, match="format requant-export 2, this requant reads"):
        read_back(folder)


def test_import_recognises_an_export(folder, notes):
    assert is_export(str(folder))
    source = open_foreign(folder, Wanted())
    assert (source.kind, source.rows) == ("requant export (Parquet)", len(notes))
    with pytest.raises(SourceError, match="knows its columns: leave out --ids"):
        open_export(str(folder), Wanted(ids="id"))


def test_overwrite_replaces_an_export_and_nothing_else(folder, notes, tmp_path):
    before = read_back(folder).rows
    with pytest.raises(ExistsError, match="exists: choose another target"):
        export(notes, folder, format="parquet")
    assert read_back(folder).rows == before
    export(notes, folder, format="parquet", where={"n": 1}, overwrite=True)
    assert read_back(folder).rows == 1
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ExistsError, match="is no export of this format, so it is not replaced"):
        export(notes, folder, format="parquet", overwrite=True)
    assert (folder / "thesis.txt").read_text() == "mine"
    other = tmp_path / "holiday"
    other.mkdir()
    export(notes, other, format="parquet")  # an empty folder is nobody's
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ExistsError, match=r"the file .* is no export"):
        export(notes, file, format="parquet", overwrite=True)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
