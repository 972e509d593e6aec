"""The reader of JSON lines."""

from __future__ import annotations

import gzip
import json

import pytest

import requant
from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_source
from requant.integration.readers.jsonl import JsonLines
from tests.cli import floats, jsonl, refused, run

ROWS = [
    {"id": "a", "vector": [1, 0.5], "text": "erste\nZeile", "n": 2**53 + 1, "deep": {"x": [None]}},
    {"id": 7, "vector": [0, -1e-3], "text": None, "n": None, "late": True},
    {"id": "日本", "vector": [2.0, 3.0], "text": "🦉", "n": -(10**30)},
]


def everything(path, wanted=None, size=2):
    return list(open_source(path, wanted or Wanted()).batches(size))


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.ndjson.gz", "A.JSONL"])
def test_round_trip(tmp_path, name):
    path = tmp_path / name
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    run("import", path, tmp_path / "db", "n", "--documents", "text", "--metadata", "all")
    with requant.open(tmp_path / "db") as db:
        notes = db.collection("n")
        items = notes.get(["a", 7, "日本"])
        assert [item.id for item in items] == ["a", 7, "日本"]
        assert [item.document for item in items] == ["erste\nZeile", None, "🦉"]
        assert [item.metadata for item in items] == [
            {"n": 2**53 + 1, "deep": {"x": [None]}},
            {"n": None, "late": True},
            {"n": -(10**30)},
        ]
        assert notes.vectors(["日本"]).tolist() == [[2.0, 3.0]]


def test_named_metadata_keeps_what_each_row_has(tmp_path):
    wanted = Wanted(metadata=("late", "n"))
    first, second = everything(jsonl(tmp_path / "a.jsonl", ROWS), wanted)
    assert first.metadata == [{"n": 2**53 + 1}, {"late": True, "n": None}]
    assert second.metadata == [{"n": -(10**30)}]
    assert first.documents == ["erste\nZeile", None]


def test_a_column_called_metadata_is_the_metadata(tmp_path):
    rows = [{"vector": [1], "metadata": {"a": 1}}, {"vector": [2], "metadata": None}]
    (batch,) = everything(jsonl(tmp_path / "a.jsonl", rows))
    assert batch.metadata == [{"a": 1}, None]
    (batch,) = everything(jsonl(tmp_path / "a.jsonl", rows), Wanted(metadata=("metadata",)))
    assert batch.metadata == [{"metadata": {"a": 1}}, {"metadata": None}]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"vector": [1, 2]}\n\n  \r\n{"vector": [3, 4]}')
    (batch,) = everything(path)
    assert batch.ids == [0, 1]
    assert batch.vectors.tolist() == [[1, 2], [3, 4]]
    assert batch.place(1, "vectors") == f"{path} row 1 (line 4)"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"vector": [1, 2', "not JSON: Expecting"),
        (b"[1, 2]", "a list, not a JSON object"),
        (b"7", "a int, not a JSON object"),
        (b'{"vector": [1, 2], "x": "\xff"}', "not JSON: 'utf-8' codec"),
        (b'{"vector": [1, 2], "x": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
        (b"[" * 100_000, "not JSON:"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"vector": [1, 2]}\n\n' + line + b"\n")
    error = refused("import", path, tmp_path / "db", "n")
    assert f"{path} row 1 (line 3): {reason}" in error
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1.0], "has 1 dimensions, expected 2"),
        ([], r"is \[\], not a list"),
        ("1 2", "is '1 2', not a list"),
        ([[1, 2]], r"holds \[1, 2\], which is not a number"),
        ([1, None], "holds None, which is not a number"),
        ({"x": 1}, r"is \{'x': 1\}, not a list of numbers"),
    ],
)
@pytest.mark.parametrize("size", [1, 5])
def test_a_vector_that_is_none_is_named(tmp_path, vector, reason, size):
    rows = [{"vector": [1, 2]}, {"vector": None}, {"vector": vector}, {"vector": [3, 4]}]
    with pytest.raises(SourceError, match=rf"row 2 \(line 3\): the vector {reason}"):
        everything(jsonl(tmp_path / "a.jsonl", rows), size=size)


def test_integers_that_no_float_can_hold(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"vector": [1, 2]}, {"vector": [10**400, 2]}])
    assert "row 0 (line 1)" in refused("import", path, tmp_path / "db", "n")


def test_truncated_and_foreign_gz(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    rows = [{"id": i, "vector": floats(1, 8, i)[0].tolist()} for i in range(3000)]
    whole = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    error = refused("import", path, tmp_path / "db", "n", "--batch", "100", code=1)
    assert "cannot be read beyond line" in error
    assert "end-of-stream marker" in error
    assert " rows are stored, run the same command again" in error
    path.write_bytes(b"plainly no gzip")
    assert "cannot be read beyond line 0" in refused("import", path, tmp_path / "db", "n")
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    path.write_bytes(flipped)
    assert "CRC check failed" in refused(
        "import", path, tmp_path / "db", "n", "--batch", "100", code=1
    )


def test_empty_files_hold_no_vectors(tmp_path):
    path = tmp_path / "a.jsonl"
    for content in ("", "\n\n"):
        path.write_text(content)
        assert "no column of vectors; its columns are: none" in refused(
            "import", path, tmp_path / "db", "n"
        )


def test_share_of_the_file_tells_how_many_rows_are_to_come(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"vector": [0.5, 0.5]}] * 50_000)
    source = open_source(path, Wanted())
    estimates, rows = [], 0
    for batch in source.batches(10_000):
        rows += len(batch)
        estimates.append(source.total(rows))
    assert estimates[-1] == 50_000
    assert all(0.9 * 50_000 < estimate < 1.1 * 50_000 for estimate in estimates)
    assert JsonLines(path).count() == 50_000
