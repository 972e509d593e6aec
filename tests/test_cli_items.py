"""`requant get`, `count`, `distinct`, `update`, `delete`, `drop` and `fields`."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

import requant
from tests.cli import documented_keys, floats, refused, run, spawn

N = 30


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        notes = opened.create_collection("notes", dim=4)
        metadata = [{"n": n, "lang": "en" if n % 3 else "de"} for n in range(N)]
        notes.upsert(range(N), floats(N), [f"text {n}" for n in range(N)], metadata)
        notes.add_index("main", precision="float32")
    return path


def stored(db):
    with requant.open(db) as opened:
        return {item.id: item for item in opened.collection("notes").iter()}


def test_get_by_id_by_filter_and_page_by_page(db):
    answer = run("get", db, "notes", "7", "3", "99", "--vectors", "--json").json
    assert set(answer) == documented_keys("get")
    assert [item["id"] for item in answer["items"]] == [7, 3]
    assert answer["items"][0]["vector"] == floats(N)[7].tolist()
    seen, after = [], []
    while True:
        command = ("get", db, "notes", "--where", '{"lang": "de"}', "--limit", "4", *after)
        answer = run(*command, "--json").json
        seen += [item["id"] for item in answer["items"]]
        if answer["next"] is None:
            break
        after = ["--after", answer["next"]]
    assert seen == [n for n in range(N) if n % 3 == 0]
    said = run("get", db, "notes", "--limit", "2").out
    assert "text 1" in said
    assert "There are more: --after 1" in said
    assert run("get", db, "notes", "nix").out == "Nothing found.\n"


def test_count_and_distinct(db):
    assert run("count", db, "notes").out == "30\n"
    answer = run("count", db, "notes", "--where", '{"n": {"$gte": 20}}', "--json").json
    assert answer == {"collection": "notes", "count": 10}
    answer = run("distinct", db, "notes", "lang", "--json").json
    assert set(answer) == documented_keys("distinct")
    assert answer["values"] == [{"value": "en", "count": 20}, {"value": "de", "count": 10}]
    assert "en" in run("distinct", db, "notes", "lang", "--where", '{"n": 1}').out


def test_update(db):
    patch = json.dumps({"year": 2024, "lang": None})
    answer = run("update", db, "notes", "--where", '{"lang": "de"}', "--metadata", patch, "--json")
    assert answer.json == {"collection": "notes", "updated": 10}
    assert stored(db)[3].metadata == {"n": 3, "year": 2024}
    run("update", db, "notes", "5", "--document", "new", "--metadata", '{"x": 1}')
    item = stored(db)[5]
    assert (item.document, item.metadata) == ("new", {"n": 5, "lang": "en", "x": 1})
    assert (item.vector == floats(N)[5]).all()


def test_delete_by_id_by_filter_and_all(db):
    answer = run("delete", db, "notes", "1", "2", "99", "--yes", "--json").json
    assert answer == {"collection": "notes", "deleted": 2}
    assert "Removed 10" in run("delete", db, "notes", "--where", '{"lang": "de"}', "--yes").out
    assert len(stored(db)) == N - 12
    run("delete", db, "notes", "--all", "--yes")
    assert stored(db) == {}
    with requant.open(db) as opened:
        assert [info.name for info in opened.collection("notes").indexes] == ["main"]


def test_drop(db):
    answer = run("drop", db, "notes", "--yes", "--json").json
    assert answer == {"database": str(db), "dropped": "notes", "items": N}
    with requant.open(db) as opened:
        assert opened.collections() == []


def test_nothing_is_removed_where_nobody_was_asked(db):
    for command in ("delete {} notes 1", "delete {} notes --all", "drop {} notes"):
        command = command.format(db).split()
        assert "Nobody can answer here: say --yes" in refused(*command)
    assert len(stored(db)) == N


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("get", "{db}", "notes", "--where", "{{"), "--where is not JSON"),
        (("get", "{db}", "notes", "--where", '{{"$no": 1}}'), "$no"),
        (("get", "{db}", "notes", "--limit", "0"), "--limit"),
        (("get", "{db}", "notes", "--after", "nix"), "nix"),
        (("get", "{db}", "nix"), "no collection 'nix'"),
        (("count", "{db}.no", "notes"), "does not exist"),
        (("distinct", "{db}", "notes", "$x"), "$x"),
        (("update", "{db}", "notes", "1"), "give --metadata"),
        (("update", "{db}", "notes", "--metadata", "{{}}"), "give either IDs or --where"),
        (("update", "{db}", "notes", "1", "--metadata", "[1]"), "not a JSON object"),
        (("update", "{db}", "notes", "1", "--metadata", "x"), "--metadata is not JSON"),
        (("update", "{db}", "notes", "nix", "--metadata", "{{}}"), "'nix'"),
        (("update", "{db}", "notes", "1", "2", "--document", "x"), "--document is for one ID"),
        (("delete", "{db}", "notes", "--yes"), "give either IDs, --where with a filter, or --all"),
        (("delete", "{db}", "notes", "1", "--all", "--yes"), "give either IDs"),
        (("delete", "{db}", "notes", "--where", "{{}}", "--yes"), "give either IDs"),
        (("drop", "{db}", "nix", "--yes"), "no collection 'nix'"),
        (("fields", "add", "{db}", "notes", "$x"), "$x"),
        (("fields", "remove", "{db}", "notes", "n"), "'n'"),
    ],
)
def test_bad_input_is_one_line_and_with_json_an_object(db, args, reason):
    filled = [arg.format(db=db) for arg in args]
    error = refused(*filled)
    assert reason in error
    answer = run(*filled, "--json", code=2)
    assert answer.err.strip() == error
    assert set(answer.json) == {"error", "type", "code"}
    assert answer.json["code"] == 2
    assert reason in answer.json["error"]
    assert len(stored(db)) == N


def test_errors_of_usage_are_objects_too(db):
    for args in (("get", "--json"), ("nonsense", "--json"), ("stats", db, "--no", "--json")):
        answer = run(*args, code=2)
        assert answer.json["code"] == 2
        assert answer.json["error"] in answer.err


def test_a_process_answers_errors_as_objects(db):
    ran = spawn("count", db, "nix", "--json")
    assert ran.code == 2
    assert ran.json["type"] == "UnknownCollectionError"
    assert ran.err.startswith("error: ")


def test_reading_works_where_nothing_may_be_written(db):
    for command in ("get", "count"):
        run(command, db, "notes", "--read-only")
    run("index", "list", db, "notes", "--read-only")
    run("backup", db, db.with_suffix(".backup"), "--read-only")
    run("fields", "list", db, "notes", "--read-only")
    run("distinct", db, "notes", "n", "--read-only")


def test_search_leaves_out_what_scores_lower(db):
    command = ("search", db, "notes", "--vector", json.dumps(floats(N)[3].tolist()), "--json")
    every = run(*command).json["hits"]
    few = run(*command, "--min-score", every[2]["score"]).json["hits"]
    assert few == every[:3]


def test_fields(db):
    assert "has no indexed field" in run("fields", "list", db, "notes").out
    answer = run("fields", "add", db, "notes", "lang", "--json").json
    assert answer == {"collection": "notes", "field": "lang", "kind": None}
    run("fields", "add", db, "notes", "at", "--kind", "datetime")
    answer = run("fields", "list", db, "notes", "--json").json
    assert answer["fields"] == [
        {"name": "at", "kind": "datetime", "ready": True},
        {"name": "lang", "kind": None, "ready": True},
    ]
    assert "datetime" in run("fields", "list", db, "notes").out
    answer = run("fields", "remove", db, "notes", "at", "--json").json
    assert answer == {"collection": "notes", "removed": "at"}
    assert "is not indexed any more" in run("fields", "remove", db, "notes", "lang").out


def test_words(db):
    command = ("search", db, "notes", "--words")
    assert "are not indexed by words: call index_text()" in run(*command, "one", code=2).err
    answer = run("text", "add", db, "notes", "--tokenizer", "porter", "--json").json
    assert answer == {"collection": "notes", "tokenizer": "porter"}
    assert run("stats", db, "notes", "--json").json["collections"][0]["text"] == {
        "tokenizer": "porter",
        "ready": True,
    }
    with requant.open(db) as opened:
        word = next(item.document for item in opened.collection("notes").iter()).split()[0]
        wanted = [hit.id for hit in opened.collection("notes").search_documents(word, 3)]
    hits = run(*command, word, "-k", 3, "--json").json["hits"]
    assert [hit["id"] for hit in hits] == wanted
    vector = json.dumps(floats(N)[3].tolist())
    hits = run("search", db, "notes", "--hybrid", word, "--vector", vector, "--json").json["hits"]
    assert any(hit["ranks"]["text"] for hit in hits)
    assert any(hit["ranks"]["vector"] == 1 for hit in hits)
    assert "give one of" in run(*command, word, "--hybrid", word, code=2).err
    assert "--words takes neither" in run(*command, word, "--vector", vector, code=2).err
    assert "needs --model" in run("search", db, "notes", "--hybrid", word, code=2).err
    assert run("text", "remove", db, "notes", "--json").json["removed"]


def stopping(*_args, **_more):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("args", "method", "left"),
    [
        (("export", "{db}", "notes", "{tmp}/out", "--to", "parquet"), "export", "nothing of it is"),
        (("index", "add", "{db}", "notes", "other"), "add_index", "there is no index 'other'"),
        (("index", "rebuild", "{db}", "notes", "main"), "rebuild", "main is what it was"),
        (("migrate", "{db}", "notes", "new"), "migrate", "searches ask the old index"),
        (("verify", "{db}"), "verify", "nothing was changed"),
        (
            ("fields", "add", "{db}", "notes", "n"),
            "index_field",
            "filters do not use the field yet",
        ),
        (("text", "add", "{db}", "notes"), "index_text", "searches by words are refused"),
    ],
)
def test_ctrl_c_says_what_is_left(db, tmp_path, monkeypatch, args, method, left):
    monkeypatch.setattr(f"requant.collection.Collection.{method}", stopping)
    filled = [arg.format(db=db, tmp=tmp_path) for arg in args]
    ran = run(*filled, code=130)
    assert ran.out == ""
    assert ran.err.startswith("warning: stopped by Ctrl-C: ")
    assert left in ran.err
    assert "run the same command again" in ran.err
    answer = run(*filled, "--json", code=130).json
    assert answer["code"] == 130
    assert left in answer["error"]


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (("index", "add", "{db}", "notes", "other", "--engine", "usearch"), "add_index"),
        (("export", "{db}", "notes", "{tmp}/out", "--to", "parquet"), "export"),
        (("backup", "{db}", "{tmp}/out"), "backup"),
    ],
)
def test_what_ctrl_c_is_said_to_leave_is_so(db, tmp_path, monkeypatch, args, where):
    """The interrupt comes from the callback of progress, in the middle of the work."""

    def advance(*_):
        raise KeyboardInterrupt

    for module in ("indexing", "exporting", "backing_up"):
        name = f"requant.integration.cli.{module}.progress"
        monkeypatch.setattr(name, lambda what: nullcontext(advance), raising=True)
    filled = [arg.format(db=db, tmp=tmp_path) for arg in args]
    run(*filled, code=130)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    monkeypatch.undo()
    with requant.open(db) as opened:
        assert [info.name for info in opened.collection("notes").indexes] == ["main"]
    run(*filled)


def test_a_host_that_is_trusted_is_handed_on(db, monkeypatch):
    seen = []
    true = requant.open

    def opened(*args, **options):
        seen.append(options["trust"])
        return true(*args, **options)

    monkeypatch.setattr("requant.open", opened)
    run("stats", db, "--trust", "https://a.example:6333", "--trust", "https://b.example")
    assert seen == [("https://a.example:6333", "https://b.example")]
