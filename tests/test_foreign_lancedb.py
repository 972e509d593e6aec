"""Tables of LanceDB with columns of every type."""

from __future__ import annotations

import datetime
from decimal import Decimal

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_foreign
from tests import inside
from tests.cli import floats
from tests.object_storage import BUCKET, running_object_storage

N, DIM = 60, 6
ROWS = floats(N, DIM)
DAY = datetime.date(2024, 2, 29)
AT = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)


def column(array, value=None, width=DIM):
    flat = pa.array(array.reshape(-1)).cast(value or pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, width)


def table(**columns):
    ids = pa.array([f"k{i}" for i in range(len(ROWS))])
    return pa.table({"id": ids, "vector": column(ROWS), **columns})


def written(folder, name="notes", data=None):
    database = lancedb.connect(folder)
    return database.create_table(name, table() if data is None else data)


def read(source, wanted=None, size=7):
    """Return the source, and items as {id: (vector, document, metadata)}."""
    opened = open_foreign(source, wanted or Wanted())
    items = {}
    for batch in opened.batches(size):
        assert len(batch) <= size
        present = np.ones(len(batch), bool) if batch.present is None else batch.present
        rows = iter(batch.vectors)
        vectors = [next(rows) if there else None for there in present]
        blank = [None] * len(batch)
        rest = zip(vectors, batch.documents or blank, batch.metadata or blank, strict=True)
        items.update(zip(batch.ids, rest, strict=True))
        assert batch.vectors.dtype == np.float32
    opened.close()
    assert len(items) == opened.rows
    return opened, items


def test_the_ways_to_name_a_table(tmp_path):
    folder = tmp_path / "my db"
    written(folder)
    paths = [folder / "notes.lance", folder / "notes", folder, f"lancedb://{folder}/notes"]
    for source in paths:
        opened, items = read(source)
        assert (opened.kind, opened.rows, opened.dim) == ("LanceDB table", N, DIM)
        assert opened.fidelity == "exact"
        assert [*items] == [f"k{i}" for i in range(N)]
        assert (np.array([vector for vector, *_ in items.values()]) == ROWS).all()
    written(folder, "more")
    with pytest.raises(SourceError, match=r"holds 2 tables, name one of: .*more, .*notes"):
        open_foreign(folder, Wanted())
    with pytest.raises(SourceError, match="there is no LanceDB table"):
        open_foreign(f"lancedb://{folder}/nix", Wanted())
    with pytest.raises(SourceError, match="three slashes"):
        open_foreign("lancedb://db/notes", Wanted())


def test_every_type_of_metadata(tmp_path):
    """A peer brought nulls back as 0, integers as floats, and lost 132 of 10,000 rows."""
    deep = {"a": None, "b": [1, None], "c": {"x": 1.5}}
    kind = pa.struct(
        {"a": pa.int64(), "b": pa.list_(pa.int64()), "c": pa.struct({"x": pa.float64()})}
    )
    values = {
        "n": pa.array([2**60 + i if i % 3 else None for i in range(N)]),
        "u": pa.array([2**64 - 1] * N, pa.uint64()),
        "f": pa.array([None, *[0.5] * (N - 1)]),
        "flag": pa.array([True, None] * (N // 2)),
        "price": pa.array([Decimal("12345678901234567890.12"), None] * (N // 2)),
        "at": pa.array([AT] * N, pa.timestamp("us", "UTC")),
        "exactly": pa.array([10**18 + 1, None] * (N // 2), pa.timestamp("ns")),
        "day": pa.array([DAY] * N),
        "took": pa.array([datetime.timedelta(seconds=90)] * N),
        "deep": pa.array([deep, None] * (N // 2), kind),
        "tags": pa.array([["a", "b"]] * N),
        "box": column(np.zeros((N, 4)), width=4),
        "kind": pa.array(["x"] * N).dictionary_encode(),
    }
    written(tmp_path, data=table(**values))
    _, items = read(tmp_path, Wanted(vector="vector"))
    metadata = items["k0"][2]
    assert metadata == {
        "n": None, "u": 2**64 - 1, "f": None, "flag": True, "price": "12345678901234567890.12",
        "at": "2024-02-29T12:00:00+00:00", "exactly": "2001-09-09T01:46:40.000000001",
        "day": "2024-02-29", "took": 90.0, "deep": deep, "tags": ["a", "b"], "box": [0, 0, 0, 0],
        "kind": "x",
    }  # fmt: skip
    assert items["k1"][2]["n"] == 2**60 + 1
    assert type(items["k1"][2]["n"]) is int
    assert items["k1"][2]["deep"] is None
    assert items["k1"][2]["exactly"] is None


KINDS = [
    (pa.float16(), "lossy", 0.002),
    (pa.float32(), "exact", 0),
    (pa.float64(), "exact", 0),
    (pa.int8(), "lossy", 0),
]


@pytest.mark.parametrize(("kind", "fidelity", "within"), KINDS, ids=lambda value: str(value))
@pytest.mark.parametrize("fixed", [True, False])
def test_every_kind_of_vector(tmp_path, kind, fidelity, within, fixed):
    rows = np.round(ROWS * 20) if kind == pa.int8() else ROWS
    numbers = rows.astype(kind.to_pandas_dtype())
    vectors = column(numbers, kind)
    if not fixed:
        if kind == pa.int8():
            pytest.skip("a list of integers of any length is no vector")
        vectors = pa.array(list(numbers), pa.list_(kind))
    written(tmp_path, data=pa.table({"id": range(N), "e": vectors}))
    opened, items = read(tmp_path)
    assert (opened.fidelity, opened.dim) == (fidelity, DIM)
    found = np.array([items[i][0] for i in range(N)])
    assert np.abs(found - rows).max() <= within


def test_bits(tmp_path):
    rows = floats(N, 16)
    codes = np.packbits(rows > 0, axis=1)
    written(tmp_path, data=pa.table({"id": range(N), "v": column(codes, pa.uint8(), 2)}))
    opened, items = read(tmp_path)
    assert (opened.fidelity, opened.metric, opened.dim) == ("codes-only", "cosine", 16)
    assert (np.array([items[i][0] for i in range(N)]) == np.where(rows > 0, 1, -1)).all()


def test_columns_as_wanted(tmp_path):
    data = pa.table(
        {
            "key": range(N),
            "title": [f"t{i}" for i in range(N)],
            "small": column(ROWS),
            "large": column(floats(N, 40), width=40),
            "picture": [b"\x89PNG"] * N,
            "n": range(N),
        }
    )
    written(tmp_path, data=data)
    with pytest.raises(SourceError, match=r"Choose one with --vector .*: small, large"):
        read(tmp_path)
    opened, items = read(tmp_path, Wanted(vector="small", ids="key", documents="title"))
    assert items[3][1:] == ("t3", {"n": 3})
    assert opened.notes[0] == "columns of bytes or vectors left out: 'large', 'picture'"
    opened, items = read(tmp_path, Wanted(vector="large", metadata=("key", "title")))
    assert opened.dim == 40
    assert items[3][1:] == (None, {"key": 3, "title": "t3"})
    assert "row numbers, from 0, are the ids" in opened.notes[-1]
    for name, option in (("ids", "--ids"), ("documents", "--documents"), ("vector", "--vector")):
        with pytest.raises(SourceError, match=f"has no column 'nix' \\({option}\\)"):
            open_foreign(tmp_path, Wanted(**{"vector": "small", name: "nix"}))


def test_the_table_of_langchain(tmp_path):
    metadata = pa.array([{"source": "a.txt", "page": i or None} for i in range(N)])
    data = table(text=[f"text {i}" for i in range(N)], metadata=metadata)
    written(tmp_path, "vectorstore", data)
    _, items = read(tmp_path)
    assert items["k0"][1:] == ("text 0", {"source": "a.txt", "page": None})
    assert items["k5"][1:] == ("text 5", {"source": "a.txt", "page": 5})


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_metric_of_an_index(tmp_path, metric):
    made = written(tmp_path)
    opened, _ = read(tmp_path)
    assert opened.metric is None
    assert "does not tell" in opened.notes[0]
    made.create_index(
        "vector", config=lancedb.index.IvfFlat(distance_type=metric, num_partitions=1)
    )
    opened, _ = read(tmp_path)
    assert opened.metric == {"dot": "ip"}.get(metric, metric)


@pytest.mark.parametrize("page", [8, 13, 8192])
def test_fragments_deletions_and_rows_without_a_vector(tmp_path, monkeypatch, page):
    monkeypatch.setattr(inside.LANCEDB_READER_PAGE, page)
    made = written(tmp_path, data=table().slice(0, 20))
    for first in range(20, N, 10):
        made.add(table().slice(first, 10))
    made.delete("id = 'k3'")
    schema = table().schema
    made.add(pa.table({"id": ["none"], "vector": [None]}, schema=schema))
    opened, items = read(tmp_path)
    expected = [f"k{i}" for i in range(N) if i != 3]
    assert [*items] == [*expected, "none"]
    assert items["none"][0] is None
    found = np.array([items[i][0] for i in expected])
    assert (found == np.delete(ROWS, 3, axis=0)).all()
    assert opened.rows == N


@pytest.mark.parametrize("size", [7, 1000])
def test_an_id_that_occurs_twice_is_named(tmp_path, size):
    """`add` appends duplicates without a word."""
    made = written(tmp_path)
    made.add(table().slice(3, 1))
    with pytest.raises(SourceError, match="notes row 60: id 'k3' occurs a second time"):
        read(tmp_path, size=size)


def test_what_is_written_meanwhile_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(inside.LANCEDB_READER_PAGE, 8)
    made = written(tmp_path)
    batches = open_foreign(tmp_path, Wanted()).batches(8)
    found = next(batches).ids
    made.delete("id < 'k3'")
    made.add(table().slice(0, 30))
    for batch in batches:
        found += batch.ids
    assert found == [f"k{i}" for i in range(N)]


def test_a_table_in_a_bucket(monkeypatch):
    with running_object_storage() as storage:
        for name, value in storage.options.items():
            monkeypatch.setenv(name.upper() if "aws" in name else f"AWS_{name.upper()}", value)
        written(f"s3://{BUCKET}/some/db")
        _, items = read(f"s3://{BUCKET}/some/db/notes")
        assert len(items) == N
        with pytest.raises(SourceError, match=f"s3://{BUCKET}/some/db/nix") as told:
            open_foreign(f"s3://{BUCKET}/some/db/nix", Wanted())
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    assert "the-secret-access-key" not in str(told.value)


def test_an_empty_table(tmp_path):
    written(tmp_path, data=table().slice(0, 0))
    opened, items = read(tmp_path)
    assert (opened.rows, opened.dim, items) == (0, DIM, {})


def test_a_table_without_vectors(tmp_path):
    written(tmp_path, data=pa.table({"id": range(3), "n": range(3)}))
    with pytest.raises(SourceError, match="has no column of vectors; its columns are: id, n"):
        open_foreign(tmp_path, Wanted())


@pytest.mark.parametrize("part", ["data", "_versions"])
def test_a_damaged_table(tmp_path, part):
    written(tmp_path)
    for file in (tmp_path / "notes.lance" / part).iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SourceError, match=str(tmp_path)):
        read(tmp_path)
    (tmp_path / "empty.lance").mkdir()
    with pytest.raises(SourceError, match=str(tmp_path)):
        open_foreign(tmp_path / "empty.lance", Wanted())


def test_addresses_that_name_nothing():
    with pytest.raises(SourceError, match="names no table"):
        open_foreign("s3://bucket", Wanted())
    with pytest.raises(SourceError) as told:
        open_foreign("s3://key:secret@bucket/db/notes", Wanted())
    assert "secret" not in str(told.value)
