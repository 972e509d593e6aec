"""How commands end: exit codes, one line for an error, no traceback, a clean stdout."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

import requant
from requant.integration.cli import searching
from tests.cli import COMMAND, Ran, floats, npy, only_error, refused, run, spawn

HEAVY = ("sqlalchemy", "pyarrow", "faiss", "usearch", "rich.progress", "sentence_transformers")


@pytest.fixture
def db(tmp_path):
    path = tmp_path / "notes.requant"
    with requant.open(path) as opened:
        notes = opened.create_collection("notes", dim=8)
        notes.upsert(range(200), floats(200, 8), ["text"] * 200)
        notes.add_index("main", precision="float32")
    return path


def test_a_process_answers_clean_json_and_0(db):
    ran = spawn("search", db, "notes", "--vector", "[1,0,0,0,0,0,0,0]", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.json["hits"]) == 10


def test_a_process_that_fails_writes_one_line_and_2(db):
    ran = spawn("search", db, "notes", "--vector", "[1,0]")
    assert ran.code == 2
    assert "2 dimensions, expected 8" in only_error(ran)


def test_the_traceback_is_there_on_request(db):
    ran = spawn("stats", db, "nix", REQUANT_TRACEBACK="1")
    assert ran.code == 2
    assert ran.err.startswith("Traceback (most recent call last):")
    assert "UnknownCollectionError" in ran.err
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert ran.out == ""


@pytest.mark.parametrize(
    "args",
    [
        ("search", "{db}", "c", "--vector", "[1]"),
        ("stats", "{db}"),
        ("verify", "{db}"),
        ("index", "list", "{db}", "c"),
        ("index", "add", "{db}", "c", "main"),
        ("index", "use", "{db}", "c", "main"),
        ("index", "drop", "{db}", "c", "main"),
        ("index", "rebuild", "{db}", "c"),
    ],
)
@pytest.mark.parametrize("form", ["{path}", "sqlite:///{path}"])
def test_only_import_makes_a_database(tmp_path, args, form):
    path = tmp_path / "typo.requant"
    target = form.format(path=path)
    error = refused(*(arg.format(db=target) for arg in args))
    assert "typo.requant does not exist: check the path, or make it with `requant import`" in error
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_of_requant(tmp_path):
    import sqlite3

    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    before = other.read_bytes()
    assert "other.sqlite is not a requant database" in refused("stats", other)
    assert other.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("no database at all " * 9)
    assert "file is not a database" in refused("stats", text)
    assert f"{tmp_path} is a folder" in refused("stats", tmp_path)
    assert "database :memory: does not exist" in refused("stats", ":memory:")


def test_a_url_that_leads_nowhere_keeps_its_password_to_itself():
    error = refused("stats", "postgresql+psycopg://ada:s3cret@127.0.0.1:1/notes")
    assert "cannot open postgresql+psycopg://ada:***@127.0.0.1:1/notes" in error
    assert "s3cret" not in error
    assert "s3cret" not in refused("stats", "nosuch://ada:s3cret@host/notes")
    assert "no database URL" in refused("stats", "://ada:s3cret@host")


def test_usage_errors_are_one_line_that_names_the_help():
    assert refused("serch").startswith("error: No such command 'serch'")
    assert refused("serch").endswith("(see `requant --help`)")
    assert "Missing argument" in refused("search")
    assert "--nix" in refused("index", "add", "--nix")
    assert refused("index", "add", "--nix").endswith("index add --help`)")


def test_without_a_command_the_help_is_shown():
    assert run().out == run("--help").out
    assert "import" in run().out
    assert "rebuild" in run("index").out
    assert run("index").out == run("index", "-h").out


def test_version():
    assert run("--version").out == f"requant {requant.__version__}\n"


def test_a_bug_is_one_line_too_and_says_what_to_do(db, monkeypatch):
    def broken(_):
        raise KeyError("surprise\nin two lines")

    monkeypatch.setattr(searching, "print_json", broken)
    error = refused("search", db, "notes", "--vector", "[1,0,0,0,0,0,0,0]", "--json", code=1)
    assert error.startswith("error: KeyError: ")
    assert "run again with REQUANT_TRACEBACK=1 and report it" in error


def test_a_damaged_index_is_one_line_of_warning_and_the_answer_is_right(db):
    command = ("search", db, "notes", "--vector", "[1,0,0,0,0,0,0,0]", "--json")
    before = run(*command).json
    (file,) = (db.parent / "notes.requant.indexes").glob("*/*.faiss")
    file.write_bytes(file.read_bytes()[:-7])
    ran = spawn(*command)
    assert ran.code == 0
    (line,) = ran.err.splitlines()
    assert line.startswith("warning: index 'main' of 'notes': ")
    assert [hit["id"] for hit in ran.json["hits"]] == [hit["id"] for hit in before["hits"]]


def test_a_closed_pipe_is_quiet(db):
    reader, writer = os.pipe()
    os.close(reader)
    for args in (("search", db, "notes", "--vector", "[1,0,0,0,0,0,0,0]"), ("stats", db, "--json")):
        process = subprocess.run(
            [*COMMAND, *map(str, args)], stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
        assert (process.returncode, process.stderr) == (130, b"")
    os.close(writer)


def test_ctrl_c_says_how_much_is_stored_and_ends_with_130(tmp_path):
    source = npy(tmp_path / "v.npy", np.ones((300_000, 16), np.float16))
    path = tmp_path / "big.requant"
    process = subprocess.Popen(
        [*COMMAND, "import", source, path, "notes", "--batch", "50", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        stored = 0
        deadline = time.monotonic() + 30
        while stored < 100 and time.monotonic() < deadline:
            time.sleep(0.05)
            if "notes" in (names := _collections(path)):
                stored = names["notes"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    ran = Ran(process.returncode, out, err)
    assert ran.code == 130
    (line,) = ran.err.splitlines()
    assert line.startswith("warning: stopped by Ctrl-C: at least ")
    assert "run the same command again" in line
    assert ran.json["complete"] is False
    # The signal may fall between a commit and its being counted.
    assert ran.json["rows"] <= _collections(path)["notes"] <= ran.json["rows"] + 50
    assert stored - 50 <= ran.json["rows"] < 300_000


def _collections(path):
    if not path.exists():
        return {}
    ran = run("stats", path, "--json") if _ready(path) else None
    return {each["name"]: each["items"] for each in ran.json["collections"]} if ran else {}


def _ready(path):
    import sqlite3

    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'requant_%'")
        return len(found.fetchall()) > 5


def test_progress_is_on_a_terminal_only_and_never_on_stdout(tmp_path):
    source = npy(tmp_path / "v.npy", floats(20_000, 8))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "import", source, tmp_path / "a.requant", "notes", "--batch", "500", "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert Ran(process.returncode, out, "").json["rows"] == 20_000
    assert b"importing v.npy" in shown
    assert b"20000/20000" in shown
    assert b"/s" in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from requant.integration.cli import app\n"
        "try:\n    app(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"


def test_an_output_without_unicode_gets_other_characters(db):
    with requant.open(db) as opened:
        opened.collection("notes").upsert(["ü"], [[9.0] + [0.0] * 7], ["日本"])
    command = ("search", db, "notes", "--vector", "[1,0,0,0,0,0,0,0]", "-k", "1")
    ran = spawn(*command, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ran.code, ran.err) == (0, "")
    assert "\\u65e5" in ran.out


def test_postgresql(postgres_url, tmp_path):
    source = npy(tmp_path / "v.npy", floats(20))
    assert "is not a requant database" in refused("stats", postgres_url, "--folder", tmp_path)
    assert "folder" in refused("import", source, postgres_url, "notes")
    folder = ("--folder", tmp_path / "indexes")
    assert run("import", source, postgres_url, "notes", *folder, "--json").json["rows"] == 20
    run("index", "add", postgres_url, "notes", "main", "--precision", "float32", *folder)
    found = run(
        "search", postgres_url, "notes", "--vector", source, "--row", "3", *folder, "--json"
    )
    assert found.json["hits"][0]["id"] == 3
    ran = spawn(
        "verify", postgres_url, "--deep", "--json", REQUANT_FOLDER=str(tmp_path / "indexes")
    )
    assert ran.json["ok"] is True


def test_ctrl_c_while_texts_are_looked_through_says_that_nothing_is_stored(
    tmp_path, db, monkeypatch
):
    from requant.integration.importing import source as importing

    def stopped(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "staged", stopped)
    items = tmp_path / "t.jsonl"
    items.write_text('{"id": "a"}\n')
    command = ("import", npy(tmp_path / "v.npy", np.ones((1, 8))), db, "notes", "--items", items)
    ran = run(*command, code=130)
    assert "stopped by Ctrl-C: nothing was stored; run the same command again" in ran.err
    assert run(*command, "--json", code=130).json["code"] == 130


def test_ctrl_c_in_a_command_that_is_usually_short_is_said(db, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(requant.Collection, "count", stopped)
    assert run("count", db, "notes", code=130).err == "warning: stopped by Ctrl-C\n"
    assert run("count", db, "notes", "--json", code=130).json["code"] == 130
