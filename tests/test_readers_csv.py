"""Comma and tab separated values: what a column is read as, and what is refused."""

from __future__ import annotations

import gzip

import pytest

import requant
from requant.integration.errors import SourceError
from requant.integration.readers import Wanted, open_source
from requant.integration.readers.source import open_table
from tests.cli import refused, run


def columns(path):
    table = open_table(path)
    return [row for chunk in table.chunks(2, table.columns) for row in chunk.records(None, ())]


def written(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "", "-20"], [1, None, -20]),
        (["1", "2.5", "-1e3"], [1.0, 2.5, -1000.0]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["true", "", "False"], [True, None, False]),
        (["true", "1", "0"], ["true", "1", "0"]),
        (["1234567890123456789012", "", "3"], [1234567890123456789012, None, 3]),
        (["1234567890.1234567890", "1", "2"], ["1234567890.1234567890", "1", "2"]),
        (["NaN", "1", "2"], ["NaN", "1", "2"]),
        (["1 000", "2", "3"], ["1 000", "2", "3"]),
        (['"a,""b""\nc"', "日本", ""], ['a,"b"\nc', "日本", None]),
        (["", "", ""], [None, None, None]),
    ],
)
def test_a_column_is_what_all_its_cells_are(tmp_path, cells, values):
    path = written(tmp_path / "a.csv", "x,y\n" + "".join(f"{cell},end\n" for cell in cells))
    rows = columns(path)
    assert [row["x"] for row in rows] == values
    assert [type(row["x"]) for row in rows] == [type(value) for value in values]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_signs_ends_of_lines_marks_and_packing(tmp_path, name, ends):
    sign = "\t" if ".tsv" in name else ","
    text = ends.join(sign.join(row) for row in (["id", "text"], ["a", "b c"], ["é", "d"])) + ends
    raw = b"\xef\xbb\xbf" + text.encode()
    path = written(tmp_path / name, gzip.compress(raw) if name.endswith("gz") else raw)
    assert columns(path) == [{"id": "a", "text": "b c"}, {"id": "é", "text": "d"}]


def test_semicolons_of_spreadsheets_and_long_cells(tmp_path):
    path = written(tmp_path / "a.csv", f"id;text\na;{'x' * 300_000}\nb;1,5\n")
    assert [len(row["text"]) for row in columns(path)] == [300_000, 3]


def test_a_csv_of_vectors_is_imported(tmp_path):
    text = 'id,embedding,text,year\n7,"[1, 0.5]",one,2020\n8,,two,\n'
    path = written(tmp_path / "a.csv", text)
    command = ("import", path, tmp_path / "db", "notes", "--metadata", "year", "--json")
    answer = run(*command).json
    assert answer["columns"] == {
        "ids": "id", "vector": "embedding", "documents": "text", "metadata": ["year"]
    }  # fmt: skip
    with requant.open(tmp_path / "db") as db:
        first, second = db.collection("notes").iter()
    assert (first.id, first.document, first.metadata) == (7, "one", {"year": 2020})
    assert first.vector.tolist() == [1, 0.5]
    assert (second.id, second.vector, second.metadata) == (8, None, {"year": None})


def test_a_column_called_metadata_may_hold_objects(tmp_path):
    path = written(tmp_path / "a.csv", 'id,vector,metadata\na,[1],"{""n"": 1}"\nb,[2],\n')
    (batch,) = open_source(path, Wanted()).batches(5)
    assert batch.metadata == [{"n": 1}, None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its first line must name every column"),
        ("id,,vector\n", "its first line must name every column"),
        ("id,vector\na,[1]\nb\n", r"row 1 \(line 3\) has 1 cells, the header 2"),
        ("id,vector\na,[1],x\n", r"row 0 \(line 2\) has 3 cells, the header 2"),
        ('id,vector\na,[1]\nb,"[2]', "cannot be read"),
        ("id,id,vector\na,b,[1]\n", "two columns called 'id'"),
        (b"id,vector\n\xff\xfe,[1]\n", "cannot be read: 'utf-8' codec"),
        ("id,vector\na,[1]\nb,[1 2]\n", r"row 1 \(line 3\): the vector is no JSON list"),
        ("id,vector\na,[1]\nb,x\n", r"row 1 \(line 3\): the vector is no JSON list"),
        ("id,vector\na,[1]\n,[2]\n", r"row 1 \(line 3\): no id in column 'id'"),
        ("id,text\na,b\n", "has no column of vectors; its columns are: id, text"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path, text, reason):
    path = written(tmp_path / "a.csv", text)
    with pytest.raises(SourceError, match=reason):
        list(open_source(path, Wanted()).batches(10))
    assert "a.csv" in refused("import", path, tmp_path / "db", "notes")
    assert not (tmp_path / "db").exists()


def test_a_cut_gzip_is_noticed(tmp_path):
    whole = gzip.compress(("id,vector\n" + "a,[1]\n" * 5000).encode())
    path = written(tmp_path / "a.csv.gz", whole[:-20])
    with pytest.raises(SourceError, match="cannot be read"):
        list(open_source(path, Wanted()).batches(10))
