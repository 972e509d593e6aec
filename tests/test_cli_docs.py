"""docs/cli.md is current, and every command, option and JSON key is in it."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

import faiss
import numpy as np
import pytest
import typer

import requant
from requant.collection import Collection
from requant.database import Database
from requant.indexes import index_config
from requant.integration.cli import app
from tests.cli import documented_keys, floats, npy, run
from tests.reembedding import hashed

DOCS = Path(__file__).parents[1] / "docs"
MAKE = runpy.run_path(str(DOCS / "make_cli.py"))
COMMANDS = dict(MAKE["commands"]("requant", typer.main.get_command(app)))


def test_the_page_is_current():
    page = (DOCS / "cli.md").read_text("utf-8")
    assert page == MAKE["page"](), "run: python docs/make_cli.py"


def test_every_command_of_the_issue_is_there():
    assert set(COMMANDS) == {
        "requant", "requant import", "requant search", "requant stats", "requant verify",
        "requant engines", "requant demo", "requant index", "requant index add",
        "requant index list", "requant index use", "requant index drop", "requant index rebuild",
        "requant index attach", "requant index calibrate",
            "requant migrate", "requant rollback", "requant shadow",
        "requant export", "requant backup", "requant restore", "requant get", "requant count",
        "requant distinct", "requant update", "requant delete", "requant drop", "requant fields",
        "requant fields list", "requant fields add", "requant fields remove",
        "requant text", "requant text add", "requant text remove", "requant upgrade",
        "requant reembed",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_documented(path):
    page = (DOCS / "cli.md").read_text("utf-8")
    section = page.split(f"## {path}\n", 1)[1].split("\n## ", 1)[0]
    command = COMMANDS[path]
    assert command.help.split("\n")[0] in section
    for parameter in command.params:
        assert parameter.help, parameter.name
        if parameter.name in ("install_completion", "show_completion", "help"):
            continue
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            assert f"`{name}`" in section


@pytest.mark.parametrize("path", COMMANDS)
def test_no_text_is_taken_for_markup(path):
    # Rich would swallow what stands in square brackets, as in requant[arrow].
    texts = [COMMANDS[path].help, *(p.help for p in COMMANDS[path].params)]
    assert not any(re.search(r"\[[a-z#/@]", text) for text in texts)


def test_the_json_has_the_keys_that_the_help_names(tmp_path):
    db = tmp_path / "notes.requant"
    rows = floats(30, 8)
    source = npy(tmp_path / "v.npy", rows)
    index = faiss.IndexFlatIP(8)
    index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    faiss.write_index(index, str(tmp_path / "theirs.index"))
    calls = {
        "import": (source, db, "notes"),
        "index add": (db, "notes", "main"),
        "index list": (db, "notes"),
        "index use": (db, "notes", "main"),
        "index rebuild": (db, "notes"),
        "index calibrate": (db, "notes", "--target", "0.5"),
        "search": (db, "notes", "--vector", source, "--row", "0"),
        "stats": (db,),
        "verify": (db,),
        "engines": (),
        "index attach": (db, "notes", "theirs", tmp_path / "theirs.index"),
        "migrate": (db, "notes", "new", "--engine", "usearch"),
        "shadow": (db, "notes"),
        "rollback": (db, "notes"),
        "export": (db, "notes", tmp_path / "out", "--to", "parquet"),
        "backup": (db, tmp_path / "notes.backup"),
        "restore": (tmp_path / "notes.backup", tmp_path / "restored.requant"),
        "index drop": (db, "notes", "main"),
        "upgrade": (db,),
        "get": (db, "notes"),
        "count": (db, "notes"),
        "distinct": (db, "notes", "n"),
        "fields add": (db, "notes", "n"),
        "fields list": (db, "notes"),
        "fields remove": (db, "notes", "n"),
        "text add": (db, "notes"),
        "text remove": (db, "notes"),
        "update": (db, "notes", "3", "--metadata", '{"n": 1}'),
        "delete": (db, "notes", "3", "--yes"),
        "reembed": (db, "notes", "--model", "acme-docs", "--drop-missing"),
        "drop": (db, "notes", "--yes"),
    }
    requant.register_model("acme-docs", lambda name: hashed(16, 1))
    answering = {path for path, command in COMMANDS.items() if "--json answers" in command.help}
    assert {f"requant {command}" for command in calls} | {"requant demo"} == answering
    for command, args in calls.items():
        if command == "reembed":
            with requant.open(db) as opened:
                opened.collection("notes").update([1], documents=["a text"])
        assert set(run(*command.split(), *args, "--json").json) == documented_keys(*command.split())


@pytest.mark.parametrize(
    ("command", "method", "other_words"),
    [
        ("search", Collection.search, {"vector", "options"}),
        ("index add", Collection.add_index, {"name", "progress", "index"}),
        ("index add", index_config, set()),
        ("migrate", index_config, set()),
        ("index attach", Collection.attach_index, {"name", "location"}),
        ("migrate", Collection.migrate, {"name", "progress", "index"}),
        ("index calibrate", Collection.calibrate, {"index"}),
        ("verify", Collection.verify, set()),
        ("backup", Database.backup, {"path", "progress"}),
        ("restore", requant.restore, {"file", "target", "tables"}),
        ("import", requant.import_items, {"source", "database", "collection", "progress"}),
        ("export", Collection.export, {"target", "progress", "format"}),
        ("get", Collection.get, {"ids", "connection", "limit"}),
        ("count", Collection.count, {"connection"}),
        ("distinct", Collection.distinct, {"field", "connection", "limit"}),
    ],
)
def test_the_library_has_the_same_words(command, method, other_words):
    options = {
        parameter.name: parameter
        for parameter in COMMANDS[f"requant {command}"].params
        if parameter.param_type_name == "option"
    }
    words = set(inspect.signature(method).parameters) - {"self"} - other_words
    # --param is repeated where the library takes a dict of params.
    assert words <= set(options) | {"params"}
    for name in words & set(options):
        default = inspect.signature(method).parameters[name].default
        assert (options[name].default or None) == (default or None)
