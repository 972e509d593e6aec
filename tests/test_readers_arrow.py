"""The readers of Parquet and Arrow."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import requant
from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_source
from tests.cli import floats, refused, run

FORMATS = ["a.parquet", "a.arrow", "stream.arrow", "a.feather"]


def write(path, table):
    if path.suffix == ".parquet":
        # Row groups of another length than the batches, as files have them.
        pa.parquet.write_table(table, path, row_group_size=3)
    else:  # Feather is another name for the file format of Arrow
        new = pa.ipc.new_stream if path.stem == "stream" else pa.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    return path


def everything(path, wanted=None, size=4):
    return list(open_source(path, wanted or Wanted()).batches(size))


def lists(array, kind):
    """Return `(n, d)` numbers as an Arrow array of lists."""
    if isinstance(kind, pa.FixedSizeListType):
        flat = pa.array(array.reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return pa.array([pa.array(row, kind.value_type).to_pylist() for row in array], kind)


VALUES = {
    pa.float16(): np.float16,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
    pa.int8(): np.int8,
}
KINDS = [
    *(pa.list_(value) for value in VALUES),
    *(pa.list_(value, 3) for value in VALUES),
    pa.large_list(pa.float32()),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_vector(tmp_path, name, kind):
    array = (floats(10, 3) * 10).astype(VALUES[kind.value_type])
    table = pa.table({"id": range(10), "vector": lists(array, kind)})
    batches = everything(write(tmp_path / name, table))
    assert np.concatenate([batch.vectors for batch in batches]).tolist() == array.tolist()
    assert [i for batch in batches for i in batch.ids] == list(range(10))
    # Whatever the batches and row groups that the file was written in.
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert all(batch.present is None for batch in batches)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(tmp_path, name):
    day, some = datetime.date(2024, 2, 29), uuid.UUID(int=5)
    table = pa.table(
        {
            "key": pa.array(["a", "日本", "c"]).dictionary_encode(),
            "e": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32())),
            "text": pa.array(["eins", None, "🦉"], pa.large_string()),
            "n": pa.array([2**53 + 1, None, -(2**62)]),
            "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "deep": pa.array([{"x": [{"y": None}]}, None, {"x": []}]),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "day": pa.array([day, None, day]),
            "at": pa.array([datetime.datetime(2024, 1, 2, 3, 4), None, None]),
            "half": pa.array([np.float16(0.5), None, np.float16(2)], pa.float16()),
            "flag": pa.array([True, None, False]),
            "uid": pa.array([str(some), None, None]),
        }
    )
    path = write(tmp_path / name, table)
    options = ("--ids", "key", "--documents", "text", "--metadata", "all", "--batch", "2")
    answer = run("import", path, tmp_path / "db", "n", *options, "--json").json
    assert answer["columns"]["vector"] == "e"
    with requant.open(tmp_path / "db") as db:
        first, second, third = db.collection("n").get(["a", "日本", "c"])
    assert (first.document, second.document, third.document) == ("eins", None, "🦉")
    assert first.metadata == {
        "n": 2**53 + 1,
        "big": 2**64 - 1,
        "deep": {"x": [{"y": None}]},
        "map": {"k": 1},
        "day": "2024-02-29",
        "at": "2024-01-02T03:04:00",
        "half": 0.5,
        "flag": True,
        "uid": str(some),
    }
    assert second.metadata == {name: None for name in first.metadata} | {"big": 0}
    assert (third.metadata["n"], third.metadata["half"], third.metadata["flag"]) == (
        -(2**62), 2.0, False,
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_one_column_of_structs_is_the_metadata(tmp_path, name):
    metadata = pa.array([{"lang": "en", "n": None}, None])
    table = pa.table({"embedding": [[1.0], [2.0]], "metadata": metadata, "document": ["x", "y"]})
    (batch,) = everything(write(tmp_path / name, table))
    assert batch.metadata == [{"lang": "en", "n": None}, None]
    assert batch.documents == ["x", "y"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)], ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_rows_without_a_vector(tmp_path, name, kind):
    vectors = [None, [1, 2], [3, 4], None, None, None, None, [5, 6]]
    path = write(tmp_path / name, pa.table({"vector": pa.array(vectors, kind)}))
    try:
        pa.parquet.read_table(path) if path.suffix == ".parquet" else None
    except pa.ArrowInvalid:  # Arrow before 26 cannot read its own lists of a fixed size with nulls
        with pytest.raises(SourceError, match=r"a\.parquet cannot be read beyond row 0"):
            everything(path, size=3)
        return
    batches = everything(path, size=3)
    present = [np.ones(len(b), bool) if b.present is None else b.present for b in batches]
    assert np.concatenate(present).tolist() == [vector is not None for vector in vectors]
    found = [row for batch in batches for row in batch.vectors.tolist()]
    assert found == [[1, 2], [3, 4], [5, 6]]
    answer = run("import", path, tmp_path / "db", "n", "--batch", "3", "--json").json
    assert (answer["rows"], answer["without_vector"]) == (8, 5)


def test_a_tensor_is_a_vector(tmp_path):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(floats(5, 3))
    table = pa.table({"x": tensors})
    for name in ("a.parquet", "a.arrow"):
        batches = everything(write(tmp_path / name, table))
        assert np.concatenate([b.vectors for b in batches]).tolist() == floats(5, 3).tolist()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1.0], "the vector has 1 dimensions, expected 2"),
        ([], "the vector has 0 dimensions, expected 2"),
        ([1.0, None], "the vector holds null"),
        ([1.0, float("nan")], "the vector holds nan in dimension 1"),
        ([1e39, 0.0], "the vector holds inf in dimension 0"),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, bad, reason):
    vectors = [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0], None, bad, [7.0, 8.0]]
    kind = pa.list_(pa.float64())
    path = write(tmp_path / name, pa.table({"vector": pa.array(vectors, kind)}))
    error = refused("import", path, tmp_path / "db", "n")
    assert f"{path} row 5: {reason}" in error


@pytest.mark.parametrize("name", FORMATS)
def test_duplicated_and_missing_ids(tmp_path, name):
    vectors = [[1.0]] * 5
    path = write(tmp_path / name, pa.table({"id": ["a", "b", "c", "d", "b"], "vector": vectors}))
    error = refused("import", path, tmp_path / "db", "n", "--batch", "2", code=1)
    assert f"{path} row 4: id 'b' occurs a second time in this file" in error
    path = write(tmp_path / name, pa.table({"id": ["a", None, "c"], "vector": vectors[:3]}))
    error = refused("import", path, tmp_path / "other", "n")
    assert f"{path} row 1: no id in column 'id'" in error


@pytest.mark.parametrize("name", FORMATS)
def test_what_cannot_be_metadata(tmp_path, name):
    for value in (datetime.timedelta(1), b"bytes", float("nan")):
        table = pa.table({"vector": [[1.0], [2.0]], "x": [None, value]})
        path = write(tmp_path / name, table)
        error = refused("import", path, tmp_path / "db", "n", "--metadata", "x")
        assert f"{path} row 1: the metadata is not JSON" in error


@pytest.mark.parametrize("name", FORMATS)
def test_columns(tmp_path, name):
    table = pa.table({"a": [[1.0]], "b": [[2.0]], "text": ["x"], "words": [["x"]]})
    path = write(tmp_path / name, table)
    with pytest.raises(SourceError, match=r"Choose one with --vector .*: a, b"):
        everything(path)
    with pytest.raises(SourceError, match="column 'text' is string, not lists of numbers"):
        everything(path, Wanted(vector="text"))
    with pytest.raises(SourceError, match=r"no column 'c' .*: a, b, text, words"):
        everything(path, Wanted(vector="c"))
    (batch,) = everything(path, Wanted(vector="b", metadata=("words", "a")))
    assert batch.vectors.tolist() == [[2.0]]
    assert batch.metadata == [{"words": ["x"], "a": [1.0]}]


def test_two_columns_of_one_name(tmp_path):
    arrays = [pa.array([[1.0]]), pa.array(["x"]), pa.array(["y"])]
    table = pa.Table.from_arrays(arrays, ["vector", "t", "t"])
    with pytest.raises(SourceError, match="two columns called 't': rename one"):
        everything(write(tmp_path / "a.arrow", table))


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_foreign_and_empty_files(tmp_path, name):
    vectors = lists(floats(3000, 8), pa.list_(pa.float32()))
    path = write(tmp_path / name, pa.table({"vector": vectors}))
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"GIF89a" * 40):
        path.write_bytes(part)
        # A stream that is cut short is good up to there; the others have their index at the end.
        code = 1 if name == "stream.arrow" and len(part) > 1000 else 2
        error = refused("import", path, tmp_path / "db", "n", "--batch", "10", code=code)
        assert f"{path} cannot be read" in error
    write(path, pa.table({"vector": pa.array([], pa.list_(pa.float32()))}))
    assert f"{path} holds no rows" in refused("import", path, tmp_path / "db", "n")


def test_memory_is_bounded_by_row_groups_and_batches(tmp_path):
    flat = pa.array(np.zeros(40_000 * 64, np.float32))
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, 64)})  # 10 MB
    pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2000)
    del flat, table
    before, peak = pa.total_allocated_bytes(), 0
    for batch in open_source(tmp_path / "a.parquet", Wanted()).batches(500):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert len(batch) <= 500
    assert peak < 5e6


def test_types_are_told_as_tables_are(tmp_path):
    table = pa.table(
        {
            "vector": [[1.0]],
            "cost": pa.array([Decimal("1.50")]),
            "at": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            "word": pa.array(["a"]).dictionary_encode(),
        }
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    (batch,) = everything(tmp_path / "a.parquet", Wanted(metadata=("all",)))
    assert batch.metadata == [{"cost": "1.50", "at": "2023-11-14T22:13:20.123456789", "word": "a"}]
