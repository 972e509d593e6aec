"""`requant search`: by vector and by text, for people and machines."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import requant
from tests.cli import npy, refused, run

VECTORS = [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        opened.create_collection("notes", dim=3).upsert(
            ["a", 7, "ü", "d"],
            VECTORS,
            ["first [red]text[/red]", "second", "drittes\nmit \x1b[31mFarbe", None],
            [{"lang": "en", "n": 1}, {"lang": "en", "n": 2**60}, {"tags": ["x", "y"]}, None],
        )
    return path


def test_a_list_of_numbers(db):
    answer = run("search", db, "notes", "--vector", "[1, 0, 0]", "-k", "2", "--json").json
    assert answer["k"] == 2
    assert [hit["id"] for hit in answer["hits"]] == ["a", 7]
    assert answer["hits"][0] == {
        "id": "a",
        "score": 1.0,
        "document": "first [red]text[/red]",
        "metadata": {"lang": "en", "n": 1},
    }
    assert answer["hits"][1]["metadata"]["n"] == 2**60


def test_the_table_shows_text_as_text(db):
    said = run("search", db, "notes", "--vector", "[0, 1, 0]").out
    assert "first [red]text[/red]" in said
    assert "drittes mit  [31mFarbe" in said or "drittes mit [31mFarbe" in said
    assert "\x1b" not in said
    assert "tags: x, y" in said
    assert said.split("\n")[1].split() == ["rank", "score", "id", "document", "metadata"]


def test_a_row_of_a_file(db, tmp_path):
    queries = npy(tmp_path / "q.npy", np.array(VECTORS))
    command = ("search", db, "notes", "--json", "--vector", queries)
    assert run(*command, "--row", "3").json["hits"][0]["id"] == "d"
    assert "has 4 rows: choose one with --row" in refused(*command)
    assert "has no row 4: it has 4, from 0" in refused(*command, "--row", "4")
    assert "has no row -1" in refused(*command, "--row", "-1")
    one = npy(tmp_path / "one.npy", np.array(VECTORS[2]))
    assert run("search", db, "notes", "--json", "--vector", one).json["hits"][0]["id"] == "ü"


def test_filters_and_indexes(db):
    run("index", "add", db, "notes", "main", "--engine", "faiss", "--precision", "float32")
    command = ("search", db, "notes", "--vector", "[0, 0, 1]", "--json")
    found = run(*command, "--where", '{"lang": "en"}', "--oversample", "2").json["hits"]
    assert {hit["id"] for hit in found} == {"a", 7}
    for more in (("--exact",), ("--index", "main"), ("--effort", "10")):
        assert run(*command, *more).json["hits"][0]["id"] == "d"


def test_nothing_found(db):
    said = run("search", db, "notes", "--vector", "[1,0,0]", "--where", '{"lang": "xx"}').out
    assert said == "Nothing found.\n"


class FakeModel:
    def __init__(self, name):
        if not name.startswith("my-model"):
            raise OSError(f"{name} is not a model\nat all")

    def encode(self, texts):
        return np.array([[0.0, 0.0, 1.0 if text == "depth" else 0.0] for text in texts])


def test_text_by_a_model(db, monkeypatch):
    package = SimpleNamespace(SentenceTransformer=FakeModel)
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    command = ("search", db, "notes", "--text", "depth", "--json")
    assert run(*command, "--model", "my-model").json["hits"][0]["id"] == "d"
    assert refused(*command, "--model", "nix") == "error: nix is not a model at all"
    assert "--text needs --model" in refused(*command)
    # Models that prompt their queries have a method for it.
    asked = {"encode_query": lambda self, texts: np.array([[0.0, 1.0, 0.0]])}
    package.SentenceTransformer = type("Prompting", (FakeModel,), asked)
    assert run(*command, "--model", "my-model/v2").json["hits"][0]["id"] == "ü"


def test_text_without_sentence_transformers_names_the_extra(db, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    error = refused("search", db, "notes", "--text", "x", "--model", "m")
    assert "error: model 'm' needs sentence-transformers: pip install 'requant[text]'" in error


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((), "give the query either as --vector or as --text"),
        (("--vector", "[1,0,0]", "--text", "x"), "either as --vector or as --text"),
        (("--vector", "[1, 0"), "no JSON list of numbers"),
        (("--vector", "[1, 0]"), "2 dimensions, expected 3"),
        (("--vector", '["a", 0, 0]'), "must hold real numbers"),
        (("--vector", "[NaN, 0, 0]"), "holds nan in dimension 0"),
        (("--vector", "nix.npy"), "there is no file nix.npy"),
        (("--vector", __file__), "is not a .npy file"),
        (("--vector", "[1,0,0]", "-k", "0"), "k must be an integer from 1"),
        (("--vector", "[1,0,0]", "-k", "x"), "'--k'"),
        (("--vector", "[1,0,0]", "--where", "{lang"), "--where is not JSON"),
        (("--vector", "[1,0,0]", "--where", '{"$no": 1}'), "$no"),
        (("--vector", "[1,0,0]", "--index", "nix"), "nix"),
        (("--vector", "[1,0,0]", "--oversample", "0.5"), "oversample must be"),
    ],
)
def test_what_cannot_be_asked(db, args, reason):
    assert reason in refused("search", db, "notes", *args)


def test_an_unknown_collection_lists_those_that_are_there(db):
    error = refused("search", db, "nots", "--vector", "[1,0,0]")
    assert "'nots'" in error
    assert "notes" in error


def test_tables_fit_the_usual_terminal_with_every_heading_in_one_piece(db, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run("index", "add", db, "notes", "main", "--precision", "binary", "--bits", "3")
    found = run("search", db, "notes", "--vector", "[0, 1, 0]").out.splitlines()
    listed = run("index", "list", db, "notes").out.splitlines()
    assert found[1].split() == ["rank", "score", "id", "document", "metadata"]
    assert listed[1].split() == [
        "index", "engine", "precision", "type", "items", "bytes", "ratio", "current",
    ]  # fmt: skip
    assert listed[-1] == "  main: bits: 3"
    assert max(map(len, found + listed)) <= 80
